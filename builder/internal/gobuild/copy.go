package gobuild

import (
	"context"
	"io"
	"os"
)

// CopyBinary copies a binary that was built to w, whose writes may fail as ctx ends.
func CopyBinary(ctx context.Context, w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return FileError("reading the binary", err)
	}
	defer f.Close()
	if err := ctx.Err(); err != nil {
		return Stopped(ctx, err)
	}
	if _, err := io.Copy(w, f); err != nil {
		return FileError("keeping the binary", err)
	}
	return nil
}

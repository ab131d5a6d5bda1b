package gobuild

import (
	"context"
	"errors"
	"io"
	"os"

	"k6x/cache"
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

// HandOver gives a binary that was built to w: as a file if w can take it, which then is gone, else as [CopyBinary] does.
func HandOver(ctx context.Context, w io.Writer, name string) error {
	if to, ok := w.(cache.Adopter); ok && ctx.Err() == nil {
		if err := to.Adopt(name); !errors.Is(err, errors.ErrUnsupported) {
			if err != nil {
				return FileError("keeping the binary", err)
			}
			return nil
		}
	}
	return CopyBinary(ctx, w, name)
}

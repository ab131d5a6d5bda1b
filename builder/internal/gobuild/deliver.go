package gobuild

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"k6x"
	"k6x/cache"
)

// Deliver gives a binary that was built to w, after which the file may be gone, and completes the report of a build that began at started.
// Digest is its hex SHA-256, "" if that is not known yet.
func Deliver(ctx context.Context, w io.Writer, name, digest string, started time.Time, build k6x.Build) (k6x.Build, error) {
	if err := handOver(ctx, w, name, digest); err != nil {
		return k6x.Build{}, err
	}
	build.Started, build.Duration = started.UTC(), time.Since(started)
	return build, nil
}

// handOver gives a file to w: as it is if w can take it, else as bytes. Writes to w may fail as ctx ends.
func handOver(ctx context.Context, w io.Writer, name, digest string) error {
	if err := ctx.Err(); err != nil {
		return Stopped(ctx, err)
	}
	if to, ok := w.(cache.Adopter); ok {
		if err := to.Adopt(name, digest); err == nil {
			return nil
		} else if !errors.Is(err, errors.ErrUnsupported) {
			return FileError("keeping the binary", err)
		}
	}
	f, err := os.Open(name)
	if err != nil {
		return FileError("reading the binary", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return FileError("keeping the binary", err)
	}
	return nil
}

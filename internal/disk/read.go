package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// TooLargeError says that there are more bytes than may be read.
type TooLargeError struct{ Limit int64 }

func (e *TooLargeError) Error() string { return fmt.Sprintf("it is larger than %d bytes", e.Limit) }

// ReadAll reads r to its end. It returns a [*TooLargeError] if that is more than limit bytes.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	n, err := buf.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, &TooLargeError{limit}
	}
	return buf.Bytes(), nil
}

// ErrIrregular: it is a directory, a pipe or a device.
var ErrIrregular = errors.New("it is not a regular file")

// ReadFile reads a regular file. It returns an [ErrIrregular] if it is none, a [*TooLargeError] if it has more than limit bytes.
func ReadFile(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name) // first, as opening a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), ErrIrregular)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), &TooLargeError{limit})
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ReadAll(file, limit)
}

// Regular returns the state of a file. It returns an error unless it is a regular one: no link is followed.
func Regular(name string) (fs.FileInfo, error) {
	info, err := os.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	return info, err
}

// Digest reads r to its end and returns the hex SHA-256 and the length of the bytes.
func Digest(r io.Reader) (digest string, size int64, err error) {
	h := sha256.New()
	size, err = io.CopyBuffer(h, onlyReader{r}, make([]byte, 256<<10))
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// onlyReader hides WriteTo, so that io.CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

// DigestFile is [Digest] of a file, until ctx ends.
func DigestFile(ctx context.Context, name string) (digest string, size int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	return Digest(Until(ctx, file))
}

// Until returns a reader of r that fails once ctx has ended.
func Until(ctx context.Context, r io.Reader) io.Reader { return endingReader{ctx, r} }

type endingReader struct {
	ctx context.Context
	r   io.Reader
}

func (e endingReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.r.Read(p)
}

package record

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"

	"k6x"
	"k6x/cache"
	"k6x/internal/disk"
)

// Fill writes a binary and says how it was made, as in the Put method of a store.
type Fill func(w io.Writer) (k6x.Build, error)

// MaxBinary bounds a binary, in bytes.
const MaxBinary = 1 << 30

// Received is what came out of a [Fill].
type Received struct {
	Build  k6x.Build
	Digest string // hex SHA-256; "" of a file that was adopted and has not been read yet
	Size   int64  // bytes
}

// Receive runs fill and passes what it writes on to dst, up to limit bytes if limit is
// not 0. It returns the error of fill as it is, unless it was writing that failed:
// then that error, also if fill did not notice. If dst is a [cache.Adopter], so is what fill writes to.
func Receive(ctx context.Context, dst io.Writer, limit int64, fill Fill) (Received, error) {
	w := &sink{ctx: ctx, dst: dst, hash: sha256.New(), limit: limit}
	build, err := fill(w)
	switch {
	case w.err != nil && !(err != nil && errors.Is(w.err, ctx.Err())):
		return Received{}, w.err
	case err != nil:
		return Received{}, err
	case ctx.Err() != nil:
		return Received{}, ctx.Err()
	case w.size == 0:
		return Received{}, k6x.Errorf(k6x.Internal, "the build wrote no binary")
	}
	got := Received{Build: build, Size: w.size}
	if !w.adopted {
		got.Digest = hex.EncodeToString(w.hash.Sum(nil))
	}
	return got, nil
}

// sink counts and hashes what it passes on. Once a write failed, every later one fails.
type sink struct {
	ctx   context.Context // that of the Put which the sink lives in
	dst   io.Writer
	hash  hash.Hash
	size  int64
	limit int64
	err   error

	adopted bool // a file, so that nothing more may come
}

var _ cache.Adopter = (*sink)(nil)

// Adopt implements [cache.Adopter].
func (s *sink) Adopt(name string) error {
	to, ok := s.dst.(cache.Adopter)
	if !ok || s.size > 0 || s.err != nil {
		return errors.ErrUnsupported
	}
	info, err := os.Lstat(name)
	if err != nil || !disk.IsOnly(info) {
		return errors.ErrUnsupported
	}
	if s.err = s.check(info.Size()); s.err != nil {
		return s.err
	}
	if err := to.Adopt(name); err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			s.err = err
		}
		return err
	}
	s.size, s.adopted = info.Size(), true
	return nil
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err == nil {
		s.err = s.check(int64(len(p)))
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.dst.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	s.hash.Write(p[:n])
	s.size += int64(n)
	s.err = err
	return n, err
}

func (s *sink) check(more int64) error {
	switch {
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case s.adopted:
		return errors.New("there is a whole file already")
	case s.size+more > MaxBinary:
		return k6x.Errorf(k6x.Internal, "the binary is larger than %d MiB", MaxBinary>>20)
	case s.limit > 0 && s.size+more > s.limit:
		return NoRoom()
	}
	return nil
}

// ReadFrom copies in large pieces; io.Copy uses it.
func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{r}, make([]byte, 256<<10))
}

// NoRoom returns the error for a binary that does not fit beside what may not be removed.
func NoRoom() error {
	return k6x.Errorf(k6x.NoSpace, "the binary does not fit into the store").
		WithHint("The size limit of the store is too small for this binary beside those that are in use; raise the limit or try again later.").
		WithCause(cache.ErrLimit)
}

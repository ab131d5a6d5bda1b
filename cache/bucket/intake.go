package bucket

import (
	"context"
	"errors"
	"hash"
	"io"
	"os"

	"k6x"
	"k6x/cache"
	"k6x/internal/disk"
)

const maxBinary = 1 << 30 // bytes

// intake is what a fill writes to: it counts and hashes what it passes on to a draft. Once a write failed, every later one fails.
type intake struct {
	ctx   context.Context // that of the Put which the intake lives in
	store *Store
	draft Draft
	hash  hash.Hash
	size  int64
	limit int64 // of size; 0: none but maxBinary
	err   error

	adopted bool   // a file, so that nothing more may come
	digest  string // of that; "" if it has to be read
}

var _ cache.Adopter = (*intake)(nil)

// Adopt implements [cache.Adopter].
func (in *intake) Adopt(name, digest string) error {
	to, ok := in.draft.(adopter)
	if !ok || in.size > 0 || in.err != nil {
		return errors.ErrUnsupported
	}
	info, err := os.Lstat(name)
	if err != nil || !disk.IsOnly(info) {
		return errors.ErrUnsupported
	}
	if in.err = in.check(info.Size()); in.err != nil {
		return in.err
	}
	if err := to.Adopt(name); errors.Is(err, errors.ErrUnsupported) {
		return err
	} else if err != nil {
		in.err = fault(notStored, err)
		return in.err
	}
	in.size, in.adopted, in.digest = info.Size(), true, digest
	return nil
}

// Write implements io.Writer. On a full disk it makes room, once.
func (in *intake) Write(p []byte) (n int, err error) {
	if in.err == nil {
		in.err = in.check(int64(len(p)))
	}
	if in.err != nil {
		return 0, in.err
	}
	err = in.store.roomy(in.ctx, in.store.exclusive, func() error {
		more, err := in.draft.Write(p[n:])
		n += more
		return err
	})
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	in.hash.Write(p[:n])
	in.size += int64(n)
	in.err = fault(notStored, err)
	return n, in.err
}

func (in *intake) check(more int64) error {
	switch {
	case in.ctx.Err() != nil:
		return in.ctx.Err()
	case in.adopted:
		return errors.New("there is a whole file already")
	case in.size+more > maxBinary:
		return k6x.Errorf(k6x.Internal, "the binary is larger than %d MiB", maxBinary>>20)
	case in.limit > 0 && in.size+more > in.limit:
		return NoRoom()
	}
	return nil
}

// ReadFrom copies in large pieces; io.Copy uses it.
func (in *intake) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{r}, make([]byte, 256<<10))
}

// NoRoom returns the error for a binary that does not fit beside what may not be removed.
func NoRoom() error {
	return k6x.Errorf(k6x.NoSpace, "the binary does not fit into the store").
		WithHint("The size limit of the store is too small for this binary beside those that are in use; raise the limit or try again later.").
		WithCause(cache.ErrLimit)
}

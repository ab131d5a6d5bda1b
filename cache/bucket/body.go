package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxResumes bounds how often one body connects again after a connection broke.
const maxResumes = 4

// body reads an object of known size and connects again where it was when a connection
// breaks or stalls. It is for one goroutine.
type body struct {
	ctx    context.Context // of the entry that the body is part of
	cancel context.CancelFunc
	store  *Store
	name   string
	size   int64
	etag   string // of what was read first; "": nothing was yet, or it has none
	offset int64
	broken int

	conn *conn // nil when there is no connection
}

// conn is one connection: what it reads begins where the body was.
type conn struct {
	r     io.ReadCloser
	guard *guard
	end   context.CancelFunc
	ctx   context.Context // ends with the connection, for its cause
}

func (s *Store) newBody(ctx context.Context, name string, size int64) *body {
	ctx, cancel := context.WithCancel(ctx)
	return &body{ctx: ctx, cancel: cancel, store: s, name: name, size: size}
}

// Read implements io.Reader. It never ends with io.EOF before all bytes were read.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.offset >= b.size {
		b.hangUp()
		return 0, io.EOF
	}
	if left := b.size - b.offset; int64(len(p)) > left {
		p = p[:left]
	}
	for {
		n, err := b.read(p)
		b.offset += int64(n)
		if err != nil {
			b.hangUp()
		}
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if b.broken++; b.broken > maxResumes || isAbsent(err) || errors.Is(err, errDamaged) || pause(b.ctx, b.broken) != nil {
			return 0, explain(b.ctx, err)
		}
		b.store.logger.Debug("download from the bucket broke and is resumed", "name", b.name, "offset", b.offset, "error", hide(err))
	}
}

// read reads some bytes, of a new connection if there is none.
func (b *body) read(p []byte) (int, error) {
	if err := b.dial(); err != nil {
		return 0, err
	}
	b.conn.guard.moved()
	n, err := b.conn.r.Read(p)
	b.conn.guard.rest() // as long as the reader has other things to do
	if err == io.EOF && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && b.conn.ctx.Err() != nil {
		err = errors.Join(context.Cause(b.conn.ctx), err)
	}
	return n, err
}

func (b *body) dial() error {
	if b.conn != nil {
		return nil
	}
	ctx, guard, end := withGuard(b.ctx, b.store.cfg.Patience)
	r, info, err := b.store.bucket.Open(ctx, b.name, b.offset)
	if err == nil && info.Size != b.size {
		err = errors.Join(fmt.Errorf("%w: %s has %d bytes, want %d", errDamaged, b.name, info.Size, b.size), r.Close())
	}
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		end()
		return err
	}
	guard.limit, b.etag = b.store.cfg.Stall, cmp.Or(b.etag, info.ETag)
	b.conn = &conn{r: r, guard: guard, end: end, ctx: ctx}
	return nil
}

func (b *body) hangUp() {
	if b.conn != nil {
		b.conn.end() // first: closing must not wait for the rest of the bytes
		b.conn.r.Close()
		b.conn = nil
	}
}

// Seek implements io.Seeker.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.size
	default:
		return 0, errors.New("unknown whence of a seek")
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	if offset != b.offset {
		b.hangUp()
		b.offset = offset
	}
	return offset, nil
}

func (b *body) close() {
	b.cancel()
	b.hangUp()
}

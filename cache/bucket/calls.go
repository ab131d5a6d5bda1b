package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"gocloud.dev/blob"
)

// maxTries bounds how often one thing is tried here, on top of what the client of the
// provider does by itself.
const maxTries = 4

// call runs one exchange with the bucket, within the patience of the store. Its error is
// one for the user, unless what was asked for is absent or taken.
func (s *Store) call(ctx context.Context, exchange func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, s.cfg.Patience, errNoAnswer)
	defer cancel()
	err := exchange(limited)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil && (isAbsent(err) || isTaken(err)) {
		return err
	}
	if limited.Err() != nil && ctx.Err() == nil {
		err = errors.Join(context.Cause(limited), err)
	}
	return explain(ctx, err)
}

// get returns a whole object of at most limit bytes.
func (s *Store) get(ctx context.Context, name string, limit int64) (data []byte, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		for try := 1; ; try++ {
			r, err := s.bucket.NewReader(ctx, name, nil)
			if err != nil {
				return err
			}
			if r.Size() > limit {
				return errors.Join(fmt.Errorf("%w: more than %d bytes in %s", errDamaged, limit, name), r.Close())
			}
			data, err = io.ReadAll(io.LimitReader(r, limit))
			if err == nil && int64(len(data)) != r.Size() {
				err = io.ErrUnexpectedEOF
			}
			r.Close()
			if err == nil || try == maxTries || pause(ctx, try) != nil {
				return err
			}
		}
	})
	return data, err
}

// putOnce writes a small object unless there is one of that name; then isTaken reports
// true of the error. That may also be this very write, if its answer was lost.
func (s *Store) putOnce(ctx context.Context, name string, data []byte) error {
	return s.call(ctx, func(ctx context.Context) error {
		if s.lock != nil {
			unlock, err := s.lock()
			if err != nil {
				return err
			}
			defer unlock()
		}
		for try := 1; ; try++ {
			err := s.write(ctx, name, data, true)
			if !isContended(err) || try == maxTries || pause(ctx, try) != nil {
				return err
			}
		}
	})
}

// put writes a small object, over the one of that name if there is one.
func (s *Store) put(ctx context.Context, name string, data []byte) error {
	return s.call(ctx, func(ctx context.Context) error { return s.write(ctx, name, data, false) })
}

func (s *Store) write(ctx context.Context, name string, data []byte, once bool) error {
	return s.bucket.Upload(ctx, name, bytes.NewReader(data), &blob.WriterOptions{ContentType: "application/json", IfNotExist: once})
}

// stat returns what the bucket says of an object.
func (s *Store) stat(ctx context.Context, name string) (attrs *blob.Attributes, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		attrs, err = s.bucket.Attributes(ctx, name)
		return err
	})
	return attrs, err
}

// remove removes an object; that there is none is no error.
func (s *Store) remove(ctx context.Context, name string) error {
	err := s.call(ctx, func(ctx context.Context) error { return s.bucket.Delete(ctx, name) })
	if isAbsent(err) {
		return nil
	}
	return err
}

// tidy removes an object that nothing names, also when ctx has ended. What cannot be
// removed now is removed by a later [Store.Trim].
func (s *Store) tidy(ctx context.Context, name string) {
	if err := s.remove(context.WithoutCancel(ctx), name); err != nil {
		s.logger.Warn("leftover in the bucket cannot be removed yet", "name", name, "error", cause(err))
	}
}

// list passes all objects whose names begin with prefix to each, at most maxPages pages.
func (s *Store) list(ctx context.Context, prefix string, each func(*blob.ListObject)) error {
	token := blob.FirstPageToken
	for page := 0; len(token) > 0; page++ {
		if page == maxPages {
			return explain(ctx, fmt.Errorf("more than %d objects below %s", maxPages*pageSize, prefix))
		}
		var objects []*blob.ListObject
		err := s.call(ctx, func(ctx context.Context) (err error) {
			objects, token, err = ListPage(ctx, s.bucket, token, pageSize, prefix)
			return err
		})
		if err != nil {
			return explain(ctx, err)
		}
		for _, object := range objects {
			each(object)
		}
	}
	return nil
}

// ListPage returns a page of a listing, and the token of the next. In a directory a file that goes away
// between being read as a name and being looked at fails all of it: that is tried again.
func ListPage(ctx context.Context, b *blob.Bucket, token []byte, size int, prefix string) (objects []*blob.ListObject, next []byte, err error) {
	for range maxListTries {
		objects, next, err = b.ListPage(ctx, token, size, &blob.ListOptions{Prefix: prefix})
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			break
		}
	}
	return objects, next, err
}

const (
	maxListTries = 100
	pageSize     = 1000
	maxPages     = 2000
)

// pause waits before the next try, longer each time, or until ctx ends.
func pause(ctx context.Context, try int) error {
	timer := time.NewTimer(50 * time.Millisecond << min(try-1, 5))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// guard ends a context when nothing moved for a while.
type guard struct {
	timer *time.Timer
	limit time.Duration
}

// withGuard returns a context that ends with cause errStalled when limit passes without a
// call of moved. It starts at once.
func withGuard(ctx context.Context, limit time.Duration) (context.Context, *guard, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errStalled) })
	return ctx, &guard{timer, limit}, func() {
		timer.Stop()
		cancel(nil)
	}
}

func (g *guard) moved() { g.timer.Reset(g.limit) }

// rest stops the time until the next moved.
func (g *guard) rest() { g.timer.Stop() }

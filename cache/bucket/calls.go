package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k6x/cache/blob"
)

// maxTries bounds how often one thing is tried here, on top of what the client of the
// provider does by itself.
const maxTries = 4

// call runs one exchange with the bucket, within the patience of the store. Its error is
// one for the user, unless what was asked for is absent or taken, or this is a [Place].
func (s *Store) call(ctx context.Context, exchange func(ctx context.Context) error) error {
	if s.own != nil {
		return exchange(ctx)
	}
	limited, cancel := context.WithTimeoutCause(ctx, s.cfg.Patience, errNoAnswer)
	defer cancel()
	err := exchange(limited)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil && blob.FaultOf(err) == "" && (isAbsent(err) || isTaken(err)) {
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
			body, info, err := s.bucket.Open(ctx, name, 0)
			if err != nil {
				return err
			}
			if info.Size > limit {
				return errors.Join(fmt.Errorf("%w: more than %d bytes in %s", errDamaged, limit, name), body.Close())
			}
			data, err = io.ReadAll(io.LimitReader(body, limit))
			if err == nil && int64(len(data)) != info.Size {
				err = io.ErrUnexpectedEOF
			}
			body.Close()
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
		for try := 1; ; try++ {
			err := s.write(ctx, name, data, true)
			if !errors.Is(err, blob.ErrContended) || try == maxTries || pause(ctx, try) != nil {
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
	_, err := s.bucket.Put(ctx, name, bytes.NewReader(data), int64(len(data)), blob.PutOptions{ContentType: "application/json", IfAbsent: once})
	return err
}

// stat returns what the bucket says of an object.
func (s *Store) stat(ctx context.Context, name string) (info blob.Info, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		info, err = s.bucket.Stat(ctx, name)
		return err
	})
	return info, err
}

// remove removes an object; that there is none is no error.
func (s *Store) remove(ctx context.Context, name string) error {
	return s.call(ctx, func(ctx context.Context) error { return s.bucket.Delete(ctx, name) })
}

// tidy removes an object that nothing names, also when ctx has ended. What cannot be
// removed now is removed by a later [Store.Trim].
func (s *Store) tidy(ctx context.Context, name string) {
	if err := s.remove(context.WithoutCancel(ctx), name); err != nil {
		s.logger.Warn("leftover in the bucket cannot be removed yet", "name", name, "error", cause(err))
	}
}

// list passes all objects whose names begin with prefix to each, at most maxListed.
func (s *Store) list(ctx context.Context, prefix string, each func(blob.Info)) error {
	limited, guard, cancel := withGuard(ctx, s.cfg.Patience)
	defer cancel()
	listed := 0
	for info, err := range s.bucket.List(limited, prefix) {
		if listed++; err == nil && listed > maxListed {
			err = fmt.Errorf("more than %d objects below %s", maxListed, prefix)
		}
		if err != nil {
			if limited.Err() != nil {
				err = errors.Join(errNoAnswer, err)
			}
			return explain(ctx, err)
		}
		guard.moved()
		each(info)
	}
	return nil
}

const maxListed = 2_000_000

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

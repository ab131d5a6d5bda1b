package tier

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"k6x"
)

// flight is one download under way. It has a context of its own: a caller that leaves ends nothing,
// unless no other waits.
type flight struct {
	cancel  context.CancelFunc
	waiting int           // guarded by the mu of the store
	done    chan struct{} // closed when err is set
	err     error
}

// fetch brings the artifact of key from the far to the near store, or waits for the call that does so.
func (s *Store) fetch(ctx context.Context, key string) error {
	f := s.join(ctx, key)
	defer s.leave(key, f)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) join(ctx context.Context, key string) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[key]
	if f == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		s.flights[key] = f
		go func() {
			defer cancel()
			f.err = safely(func() error { return s.download(ctx, key) })
			s.mu.Lock()
			defer s.mu.Unlock()
			s.land(key, f)
			close(f.done)
		}()
	}
	f.waiting++
	return f
}

func (s *Store) leave(key string, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		s.land(key, f) // a later call starts anew
		f.cancel()
	}
}

// land takes f out, so that no call joins it any more. The caller holds mu.
func (s *Store) land(key string, f *flight) {
	if s.flights[key] == f {
		delete(s.flights, key)
	}
}

// download copies an artifact. Its bytes are compared with its record before they count.
func (s *Store) download(ctx context.Context, key string) error {
	entry, err := s.far.Open(ctx, key)
	if err != nil {
		return err
	}
	defer entry.Close()
	artifact, err := s.far.Record(ctx, key)
	if err != nil {
		return err
	}
	_, err = s.near.Import(ctx, artifact, func(w io.Writer) error {
		_, err := io.Copy(w, io.LimitReader(entry.Body, artifact.Size+1))
		return err
	})
	if err != nil {
		return err
	}
	if path, ok := s.pending.Get(key); ok {
		s.pending.Remove(key)
		s.bound(ctx, path, key)
	}
	return nil
}

// safely turns a panic into an error, so that the calls that wait end too.
func safely(work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = k6x.Errorf(k6x.Internal, "the binary could not be fetched").
				WithCause(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return work()
}

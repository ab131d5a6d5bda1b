package tier

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"k6x"
)

// waiting is for callers that wait for one download.
type waiting struct {
	ctx    context.Context // of the download: it ends when no caller waits any more
	cancel context.CancelFunc
	n      int
}

// fetch brings the artifact of key from the remote to the local store, or waits for the call that does so. A caller that leaves
// ends nothing as long as others wait.
func (s *Store) fetch(ctx context.Context, key string) error {
	w := s.join(ctx, key)
	defer s.leave(key, w)
	done := s.downloads.DoChan(key, func() (any, error) { return nil, s.download(w.ctx, key) })
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) join(ctx context.Context, key string) *waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[key]
	if w == nil {
		w = new(waiting)
		w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
		s.waiting[key] = w
	}
	w.n++
	return w
}

func (s *Store) leave(key string, w *waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.n--; w.n == 0 {
		w.cancel()
		delete(s.waiting, key)
		s.downloads.Forget(key) // a later call starts anew
	}
}

// download copies an artifact. Its bytes are compared with its record before they count. A panic becomes an error, so that the
// calls that wait end too.
func (s *Store) download(ctx context.Context, key string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = k6x.Errorf(k6x.Internal, "the binary could not be fetched").
				WithCause(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	entry, err := s.remote.Open(ctx, key)
	if err != nil {
		return err
	}
	defer entry.Close()
	artifact, err := s.remote.Record(ctx, key)
	if err != nil {
		return err
	}
	_, err = s.local.Copy(ctx, artifact, func(w io.Writer) error {
		_, err := io.Copy(w, io.LimitReader(entry.Body, artifact.Size+1))
		return err
	})
	if bound, ok := s.paths.Get(artifact.Path); ok && err == nil {
		s.bound(ctx, artifact.Path, bound) // which could not be kept here as long as the artifact was not
	}
	return err
}

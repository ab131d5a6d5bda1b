package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/bucket"
)

// linger is how long a download goes on for which no caller waits: one that was sent round by a redirect comes back.
const linger = time.Minute

// movable: a file that is open can be moved, so that it can be read before it is in its place.
const movable = runtime.GOOS != "windows"

// arrival is a binary on its way from the remote store to the local one. Callers read its bytes as they arrive, but for the last one, which waits until
// all have the digest of the record and are kept here, if they can be.
type arrival struct {
	store  *Store
	key    string
	ctx    context.Context // of the download
	cancel context.CancelFunc

	opened chan struct{} // closed once head or err is set
	wanted chan struct{} // closed once bytes are wanted
	want   func()        // closes wanted

	verified bool // all bytes have arrived and are right; for the goroutine that downloads

	callers int         // guarded by the mu of the store
	idle    *time.Timer // guarded by the mu of the store; runs while no caller waits for bytes that are wanted

	mu    sync.Mutex // guards what follows
	head  cache.Entry
	file  blob.Bytes
	there int64         // bytes that may be read
	more  chan struct{} // closed, and made anew, when what is above changes
	ended bool
	err   error
}

// join returns the arrival of key, which begins if need be. Each caller leaves it.
func (s *Store) join(ctx context.Context, key string) *arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.arrivals[key]
	if a == nil {
		a = &arrival{store: s, key: key, opened: make(chan struct{}), wanted: make(chan struct{}), more: make(chan struct{})}
		a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
		a.want = sync.OnceFunc(func() { close(a.wanted) })
		s.arrivals[key] = a
		go a.run()
	}
	a.callers++
	if a.idle != nil {
		a.idle.Stop()
		a.idle = nil
	}
	return a
}

// leave ends the use of an arrival. Without callers, one whose bytes nobody wanted ends at once.
func (s *Store) leave(a *arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.callers--; a.callers > 0 {
		return
	}
	select {
	case <-a.ctx.Done(): // it has ended
	case <-a.wanted:
		var idle *time.Timer
		idle = time.AfterFunc(linger, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if a.idle == idle {
				s.drop(a)
			}
		})
		a.idle = idle
	default:
		s.drop(a)
	}
	a.close()
}

// drop lets a later caller start anew. It is called with mu held.
func (s *Store) drop(a *arrival) {
	a.cancel()
	if s.arrivals[a.key] == a {
		delete(s.arrivals, a.key)
	}
}

// close closes the file once nobody reads nor writes it. It is called with the mu of the store held.
func (a *arrival) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.callers == 0 && a.ended && a.file != nil {
		a.file.Close()
		a.file = nil
	}
}

// run downloads. A panic becomes an error, so that the callers that wait end too.
func (a *arrival) run() {
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = k6x.Errorf(k6x.Internal, "the binary could not be fetched").WithCause(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		return a.download()
	}()
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(a) // before its end can be seen: a caller that comes now starts anew
	if a.idle != nil {
		a.idle.Stop()
	}
	if a.verified && err != nil {
		s.logger.Warn("binary was fetched, but cannot be kept on the local disk", "key", a.key, "error", err)
	}
	a.change(func() {
		switch a.ended = true; {
		case a.verified:
			a.there = a.head.Size
		case err == nil: // another process put it there meanwhile: what is there can be opened now
			a.err = cache.ErrEvicted
		default:
			a.err = err
		}
	})
	select {
	case <-a.opened:
	default:
		close(a.opened)
	}
	a.close()
}

func (a *arrival) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.more)
	a.more = make(chan struct{})
}

// download finds out what is there, and copies it once it is wanted. Its bytes are compared with its record before the last of them counts.
func (a *arrival) download() error {
	s := a.store
	far, err := s.remote.Open(a.ctx, a.key)
	if err != nil {
		return err
	}
	defer far.Close()
	if limit := s.local.Stats().Limit; limit > 0 && far.Size > limit {
		return bucket.NoRoom()
	}
	a.head = *far
	a.head.Body, a.head.Release = nil, nil
	close(a.opened)
	select {
	case <-a.wanted:
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
	artifact, err := s.remote.Record(a.ctx, a.key)
	if err != nil {
		return err
	}
	_, err = s.local.Copy(a.ctx, artifact, func(w io.Writer, written blob.Bytes) error {
		if !movable {
			written.Close()
			_, err := io.Copy(w, io.LimitReader(far.Body, artifact.Size+1))
			return err
		}
		a.change(func() { a.file = written })
		_, err := io.CopyBuffer(arriving{a, w}, struct{ io.Reader }{io.LimitReader(far.Body, artifact.Size+1)}, make([]byte, 256<<10))
		return err
	}, func() { a.verified = true })
	if bound, ok := s.paths.Get(artifact.Path); ok && err == nil {
		s.bound(a.ctx, artifact.Path, bound) // which could not be kept here as long as the artifact was not
	}
	return err
}

// arriving is where the bytes of an arrival are written.
type arriving struct {
	*arrival
	w io.Writer
}

func (a arriving) Write(p []byte) (int, error) {
	n, err := a.w.Write(p)
	a.change(func() { a.there = min(a.there+int64(n), a.head.Size-1) })
	return n, err
}

// await returns once there is a byte at an offset, with the number of bytes that may be read, or an error if there will be none.
func (a *arrival) await(ctx context.Context, offset int64) (there int64, err error) {
	a.want()
	for {
		a.mu.Lock()
		there, more, ended, err := a.there, a.more, a.ended, a.err
		a.mu.Unlock()
		switch {
		case offset < there:
			return there, nil
		case ended:
			return 0, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// stream reads an arrival. It is for one goroutine.
type stream struct {
	*arrival
	offset int64
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if s.offset >= s.head.Size || len(p) == 0 {
		return 0, io.EOF
	}
	there, err := s.await(context.Background(), s.offset)
	if err != nil {
		return 0, err
	}
	n, err := s.file.ReadAt(p[:min(int64(len(p)), there-s.offset)], s.offset)
	if s.offset += int64(n); n > 0 {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (s *stream) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.offset
	case io.SeekEnd:
		offset += s.head.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	s.offset = offset
	return offset, nil
}

// open opens what is only in the remote store: nothing is downloaded before it is wanted.
func (s *Store) open(ctx context.Context, key string) (*cache.Entry, error) {
	a := s.join(ctx, key)
	select {
	case <-a.opened:
	case <-ctx.Done():
		s.leave(a)
		return nil, ctx.Err()
	}
	if a.head.Size == 0 {
		s.leave(a)
		return nil, a.err
	}
	if !movable {
		defer s.leave(a)
		if _, err := a.await(ctx, a.head.Size-1); err != nil {
			return nil, err
		}
		return s.local.Open(ctx, key)
	}
	entry := a.head
	entry.Body = &stream{arrival: a}
	entry.Await = func(ctx context.Context) error {
		_, err := a.await(ctx, 0)
		return err
	}
	entry.Release = func() { s.leave(a) }
	return &entry, nil
}

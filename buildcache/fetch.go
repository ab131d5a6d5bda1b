package buildcache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// fetching is a pack on its way here.
type fetching struct {
	done chan struct{}
	err  error // after done
}

var (
	errLate   = errors.New("the shared build cache is slow")
	errPaused = errors.New("the shared build cache is left alone for a while")
	errAbsent = errors.New("not in the shared build cache")
)

// lostFor is how long a damaged or missing pack is not tried again.
const lostFor = time.Hour

// fetch brings a pack here, or joins the fetch that is under way. Nil: not now.
func (c *Cache) fetch(s *scope, p *pack) *fetching {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.fetching != nil {
		return p.fetching
	}
	if c.now().Before(p.notBefore) || !c.reads.allow() {
		return nil
	}
	f := &fetching{done: make(chan struct{})}
	if c.begin(func() {
		lost, err := c.install(p)
		c.noteRead("a pack of the shared build cache cannot be had", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		p.fetching = nil
		switch {
		case lost:
			p.lost, p.notBefore = true, c.now().Add(lostFor)
		case err != nil:
			p.notBefore = c.now().Add(c.cfg.Pause)
		}
		f.err = err
		close(f.done)
	}) {
		p.fetching = f
	}
	return p.fetching
}

// install fetches and unpacks. Lost says that it is no use to try again.
func (c *Cache) install(p *pack) (lost bool, err error) {
	if c.local.complete(p.packed) { // another fetch has ended since the caller looked
		return false, nil
	}
	ctx, cancel := context.WithTimeout(c.reading, c.cfg.Timeout)
	defer cancel()
	r, err := c.cfg.Remote.Read(ctx, packName(p.ID))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), err
	}
	defer r.Close()
	from := &source{r: io.LimitReader(r, p.Size)}
	err = c.local.unpack(p.Outputs, from)
	c.count(func(n *Stats) { n.BytesFetched += from.read })
	if err == nil {
		return false, nil
	}
	return from.err == nil && ctx.Err() == nil && !errors.Is(err, errLocal), err
}

// noteRead tells the breaker and the log about an exchange.
func (c *Cache) noteRead(what string, err error) {
	if c.reading.Err() != nil {
		return // we are closing
	}
	if errors.Is(err, errLocal) {
		c.log.Warn("the build cache cannot be written", "error", err)
		err = nil
	}
	if err != nil {
		c.count(func(n *Stats) { n.ReadFailures++ })
		c.log.Debug(what, "error", err)
	}
	if c.reads.note(err) {
		c.log.Warn("the shared build cache is left alone for a while", "pause", c.cfg.Pause, "error", err)
	}
}

// remote returns the entry of an action that the remote level has.
func (s *Session) remote(ctx context.Context, action ID) (Entry, error) {
	if err := s.awaitIndexes(ctx); err != nil {
		return Entry{}, err
	}
	output, at, ok := s.scope.find(action)
	if !ok {
		return Entry{}, errAbsent
	}
	if err := s.bring(ctx, output, at, s.c.cfg.Wait); err != nil {
		return Entry{}, err
	}
	if err := s.c.local.bind(action, output, at.size); err != nil {
		s.c.log.Debug("an action cannot be noted", "error", err)
	}
	s.use(output)
	return Entry{Output: output, Size: at.size, Time: s.c.now(), Path: s.c.local.output(output)}, nil
}

// awaitIndexes waits for the indexes as long as the session is young.
func (s *Session) awaitIndexes(ctx context.Context) error {
	return wait(ctx, s.scope.ready, s.started.Add(s.c.cfg.Wait).Sub(s.c.now()))
}

// wait waits until done is closed. It returns an errLate if that takes longer than limit.
func wait(ctx context.Context, done <-chan struct{}, limit time.Duration) error {
	select {
	case <-done:
		return nil
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return errLate
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bring makes sure that an output is local, within a limit.
func (s *Session) bring(ctx context.Context, output ID, at place, limit time.Duration) error {
	if s.c.local.has(output, at.size) {
		return nil
	}
	f := s.c.fetch(s.scope, at.pack)
	if f == nil {
		return errPaused
	}
	slow := s.c.reads.open() // so this is not worth to wait for
	if slow {
		limit = 0
	}
	err := wait(ctx, f.done, limit)
	if err == errLate && slow {
		return errPaused
	}
	if err == errLate {
		s.c.noteRead("a pack of the shared build cache is slow", errLate)
	}
	if err == nil && !s.c.local.has(output, at.size) {
		err = errors.Join(errAbsent, f.err)
	}
	return err
}

// prefetch brings the packs here that a build of this label is likely to need.
func (s *Session) prefetch(ctx context.Context) {
	select {
	case <-s.scope.ready:
	case <-ctx.Done():
		return
	}
	if err := s.fetchAll(ctx, s.scope.packsFor(s.label)); err != nil && ctx.Err() == nil {
		s.c.log.Debug("not all could be fetched ahead", "error", err)
	}
}

// fetchAll fetches packs that are not here yet, some at a time, until one cannot be had or ctx ends.
func (s *Session) fetchAll(ctx context.Context, packs []*pack) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.c.cfg.Connections)
	for _, p := range packs {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if ctx.Err() != nil || s.c.local.complete(p.packed) {
				return ctx.Err()
			}
			f := s.c.fetch(s.scope, p)
			if f == nil {
				return errPaused
			}
			select {
			case <-f.done:
				if errors.Is(f.err, errLocal) || s.c.reads.open() {
					return f.err
				}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	return group.Wait()
}

// breaker leaves a remote level alone for a while that has failed several times in a row.
type breaker struct {
	pause time.Duration
	now   func() time.Time

	mu       sync.Mutex // guards the fields below
	failures int        // since the last success
	until    time.Time
}

// allow reports whether the remote level may be asked. After a pause one caller is
// let through to find out.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < maxFailures {
		return true
	}
	now := b.now()
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(b.pause)
	return true
}

// note takes the result of an exchange and reports whether it opened the breaker.
func (b *breaker) note(err error) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.failures = 0
		return false
	}
	b.failures++
	if b.failures >= maxFailures {
		b.until = b.now().Add(b.pause)
	}
	return b.failures == maxFailures
}

// open reports whether the remote level is left alone now.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= maxFailures && b.now().Before(b.until)
}

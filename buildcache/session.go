package buildcache

import (
	"cmp"
	"context"
	"io"
	"regexp"
	"sync"
	"time"

	"k6x"
)

// Session is one build. Make one with [Cache.Start].
type Session struct {
	c       *Cache
	scope   *scope // nil if there is no remote level
	label   string
	started time.Time
	stop    context.CancelFunc // ends fetching ahead
	sent    chan struct{}      // closed when all is sent; nil if nothing is
	ahead   func()             // begins to fetch ahead, once

	mu     sync.Mutex // guards the fields below
	closed bool
	queue  chan bound // of compiled packages; nil if they are not sent
	used   map[ID]bool
	packs  []ID // used, in order
	err    error
	id     string // at the endpoint; "" if Environ was not called
}

var _ Handler = (*Session)(nil)

// maxQueue bounds the packages that wait to be sent. An entry is small; its body is in the directory.
const maxQueue = 8192

var scopeNames = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)

// Build describes a build, as far as others have packages for it or need its own.
type Build struct {
	// Scope names what can share compiled packages at all, such as "go1.26.8-linux-amd64". It has
	// lower-case letters, digits, dots and dashes only.
	Scope string
	// Label names builds that need the same packages, such as the canonical list of the dependencies; at
	// most [MaxLabel] bytes.
	Label string
	// Private: the output of its compilations is not sent.
	Private bool
}

// Start begins a build. A scope or a label that is not as it has to be is an error of kind Invalid.
func (c *Cache) Start(b Build) (*Session, error) {
	if !scopeNames.MatchString(b.Scope) || len(b.Label) > MaxLabel {
		return nil, k6x.Errorf(k6x.Invalid, "%.80q is not the name of a part of the shared build cache", b.Scope)
	}
	reading, stop := context.WithCancel(c.reading)
	s := &Session{c: c, label: b.Label, started: c.now(), stop: stop, ahead: func() {}, used: make(map[ID]bool)}
	if c.cfg.Remote == nil {
		return s, nil
	}
	s.scope = c.scopeNamed(b.Scope)
	s.ahead = sync.OnceFunc(func() { c.begin(func() { s.prefetch(reading) }) })
	if !c.cfg.ReadOnly && !b.Private {
		queue, sent := make(chan bound, maxQueue), make(chan struct{})
		if c.begin(func() {
			defer close(sent)
			(&exporter{s: s, c: c}).run(queue)
		}) {
			s.queue, s.sent = queue, sent
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[s] = true // for Close
	return s, nil
}

// Ahead begins to fetch the packs that builds of the label needed, before the go command asks for what is in them.
func (s *Session) Ahead() { s.ahead() }

// Close ends the build. The packages that it compiled are sent in the background, see [Cache.Close].
func (s *Session) Close() {
	s.stop()
	s.c.mu.Lock()
	delete(s.c.open, s)
	s.c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.queue != nil {
		close(s.queue)
	}
	if s.id != "" {
		s.c.leave(s.id)
	}
}

// Get returns the entry of an action, from the directory or the remote level. Any error is a miss.
func (s *Session) Get(ctx context.Context, action ID) (Entry, error) {
	e, err := s.c.local.get(action)
	if err == nil {
		s.c.count(func(n *Stats) { n.LocalHits++ })
		s.use(e.Output)
		if s.c.cfg.Fill {
			s.send(bound{action, e.Output})
		}
		return e, nil
	}
	if s.scope != nil {
		if e, err = s.remote(ctx, action); err == nil {
			s.c.count(func(n *Stats) { n.RemoteHits++ })
			return e, nil
		}
	}
	s.c.count(func(n *Stats) { n.Misses++ })
	return Entry{}, err
}

// Put keeps the body of an action in the directory, and sends it later. It returns an error if
// the body is not the one of output, or cannot be kept.
func (s *Session) Put(_ context.Context, action, output ID, size int64, body io.Reader) (Entry, error) {
	err := s.c.local.add(output, size, body)
	if err == nil {
		err = s.c.local.bind(action, output, size)
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = cmp.Or(s.err, err)
		return Entry{}, err
	}
	s.send(bound{action, output})
	return Entry{Output: output, Size: size, Time: s.c.now(), Path: s.c.local.output(output)}, nil
}

// Err returns why something of this build could not be kept, if so. The go command then fails, with
// words that blame others.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// send queues an entry for the remote level, or drops it if too many wait.
func (s *Session) send(b bound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil || s.closed {
		return
	}
	select {
	case s.queue <- b:
	default:
		s.c.count(func(n *Stats) { n.Dropped++ })
	}
}

// use notes which pack a build needed.
func (s *Session) use(output ID) {
	if s.scope == nil {
		return
	}
	s.scope.mu.Lock()
	at, ok := s.scope.outputs[output]
	s.scope.mu.Unlock()
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.used[at.pack.ID] {
		s.used[at.pack.ID] = true
		s.packs = append(s.packs, at.pack.ID)
	}
}

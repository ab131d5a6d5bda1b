// Package buildcache lets the go command's build cache travel: what one machine has compiled,
// another one takes from a store that they share.
//
// A [Cache] has two levels. The local one (local.go) is a directory in the layout of GOCACHE, so
// that a go command by itself finds the same. The remote one is a [Store]: a bucket (store.go) or a registry
// of container images (oci.go), or what another machine offers of one to those that have no access to it (offer.go). A [Session] is one build. For it the go command is started with
// [Session.Attach], runs a [Relay] as its GOCACHEPROG, and so reaches the cache of this
// process through a socket (socket.go), where [Serve] speaks the protocol (protocol.go).
//
// In the remote level, bodies are packed (pack.go), and each session that wrote some adds an index (index.go): which
// packs it made, which action has which output, and which packs a build of its label needed.
// A session fetches the packs of its label before the go command asks (fetch.go). The packages that are
// compiled here are packed and sent while the build goes on (export.go). A note (note.go) is what whoever builds has to say to others
// about all that: package fast keeps in one how packages belong together, and has them fetched without a go command that asks.
//
// Bodies are verified: an OutputID is the SHA-256 of its body. That an action has this
// output is the word of the writer of the index. So the writers of a store decide what the builds of all
// its readers are made of: give writers a credential of their own, and readers one that cannot write.
//
// A remote level that is slow, broken or full costs speed, never a build: a package that it does not give in time is compiled.
package buildcache

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"k6x"
)

// Config says where a cache is. Dir is needed.
type Config struct {
	Dir string // the local level, a GOCACHE

	// Remote is the second level, which the cache does not close; nil: there is none.
	Remote   Store
	ReadOnly bool // nothing is sent to Remote
	Fill     bool // what builds find in Dir is sent, too, unless Remote has it

	// Relay is the command that runs [Relay] with the arguments added to it; nil: this program with "gocacheprog".
	Relay []string

	// Wait is how long the go command waits for an output that Remote has; 0: 2 s. After that it compiles.
	Wait time.Duration
	// Timeout is how long one exchange with Remote may take; 0: 30 s.
	Timeout time.Duration
	// Pause is how long Remote is left alone after failures in a row; 0: 30 s.
	Pause time.Duration
	// Connections is how many packs are fetched ahead at a time; 0: 4.
	Connections int

	Logger *slog.Logger // nil discards
}

// maxFailures in a row open a breaker.
const maxFailures = 3

// Cache is a build cache for sessions. Make one with [New].
type Cache struct {
	cfg     Config
	log     *slog.Logger
	local   *local
	reads   *breaker
	writes  *breaker
	uploads chan struct{} // a slot for each upload under way
	now     func() time.Time

	counting sync.Mutex // guards stats
	stats    Stats

	life    context.Context // ends when nothing is to be waited for any more
	die     context.CancelFunc
	reading context.Context // ends when nothing is fetched any more, which is earlier
	unread  context.CancelFunc
	work    sync.WaitGroup // exchanges with Remote, and conversations

	mu       sync.Mutex // guards the fields below
	closed   bool
	scopes   map[string]*scope
	endpoint *endpoint // nil until the first Environ
	open     map[*Session]bool
}

// New opens the local level. A directory that cannot be made is an error of kind Internal.
func New(cfg Config) (*Cache, error) {
	cfg.Wait = cmp.Or(cfg.Wait, 2*time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	cfg.Pause = cmp.Or(cfg.Pause, 30*time.Second)
	cfg.Connections = cmp.Or(cfg.Connections, 4)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Relay == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, k6x.Errorf(k6x.Internal, "this program cannot be found to be the build cache of the go command").WithCause(err)
		}
		cfg.Relay = []string{self, "gocacheprog"}
	}
	local, err := openLocal(cfg.Dir)
	if err != nil {
		return nil, k6x.Errorf(k6x.Internal, "the build cache cannot be opened").WithCause(err)
	}
	c := &Cache{
		cfg: cfg, log: cfg.Logger, local: local, now: time.Now, uploads: make(chan struct{}, 2), scopes: make(map[string]*scope), open: make(map[*Session]bool),
		reads: &breaker{pause: cfg.Pause, now: time.Now}, writes: &breaker{pause: cfg.Pause, now: time.Now},
	}
	c.life, c.die = context.WithCancel(context.Background())
	c.reading, c.unread = context.WithCancel(c.life)
	return c, nil
}

// Close waits until the packages that the sessions compiled are sent, at most until ctx ends; those not sent
// by then are dropped. It closes the sessions that are still open.
func (c *Cache) Close(ctx context.Context) {
	c.mu.Lock()
	c.closed = true
	socket, open := c.endpoint, slices.Collect(maps.Keys(c.open))
	c.mu.Unlock()
	if socket != nil {
		socket.close()
	}
	for _, s := range open {
		s.Close()
	}
	c.unread()
	done := make(chan struct{})
	go func() {
		c.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	c.die()
	<-done
}

// begin runs work beside the caller, and reports whether it did: not once the cache is being closed.
func (c *Cache) begin(work func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Go(work)
	}
	return !c.closed
}

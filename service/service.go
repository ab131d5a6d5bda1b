// Package service is the HTTP side of k6x: the path that names a binary, status and
// metrics.
//
// A request for a binary goes one way: parse the path, redirect what is not canonical,
// look into the store, build on a miss, send. Handlers return errors; one adapter
// writes them, by one table from error kind to status (errors.go).
package service

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/resolver"
)

// Config says what a [Service] is made of. Resolver, Builder, Store and Settings are needed;
// the zero value of everything else works.
type Config struct {
	Resolver  *resolver.Resolver
	Builder   builder.Builder
	Store     cache.Store
	Settings  k6x.Settings     // what recipes are made with
	Logs      *cache.Logs      // keeps the logs of failed builds; nil: they are not kept
	Pin       func(key string) // called for what was preloaded; nil: nothing
	Platforms []k6x.Platform   // nil: k6x.DefaultPlatforms
	URL       *url.URL         // what clients see in front of the paths; nil: as the request says
	Trusted   []netip.Prefix   // peers whose X-Forwarded-For and X-Forwarded-Proto are believed
	Metrics   *Metrics         // nil: a new one
	Logger    *slog.Logger     // nil: discard

	// MaxWait is how long a request waits before it is redirected to itself; 0: as
	// long as it takes.
	MaxWait time.Duration
	// LatestMaxAge is how long an answer to an open request may be cached; 0: not at all.
	LatestMaxAge time.Duration
	// Stall is how long a client may take for a few megabytes; 0: 5 minutes.
	Stall time.Duration
}

// Service answers requests.
type Service struct {
	cfg      Config
	router   chi.Router
	draining chan struct{}
	drain    sync.Once
}

// New returns a service.
func New(cfg Config) *Service {
	if cfg.Platforms == nil {
		cfg.Platforms = k6x.DefaultPlatforms()
	}
	if cfg.URL == nil {
		cfg.URL = &url.URL{}
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Stall = cmp.Or(cfg.Stall, 5*time.Minute)
	s := &Service{cfg: cfg, router: chi.NewRouter(), draining: make(chan struct{})}
	s.router.MethodNotAllowed(s.handle(methodNotAllowed))
	for path, h := range map[string]handler{
		"/":           s.index,
		"/alive":      s.alive,
		"/ready":      s.ready,
		"/logs/{key}": s.buildLog,
		"/*":          s.binary,
	} {
		s.router.Get(path, s.handle(h))
		s.router.Head(path, s.handle(h))
	}
	s.router.NotFound(s.handle(notFound)) // a request without a path, as OPTIONS * has it
	s.router.Method(http.MethodGet, "/metrics", cfg.Metrics.handler())
	s.router.Method(http.MethodHead, "/metrics", cfg.Metrics.handler())
	return s
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// Drain tells requests that wait for a build to come back later, and those that
// would start to wait. Downloads go on. It returns at once.
func (s *Service) Drain() { s.drain.Do(func() { close(s.draining) }) }

// whileServing returns a context that ends with ctx, or when the service drains.
func (s *Service) whileServing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.draining:
			cancel(errDraining)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

var errDraining = &k6x.Error{
	Kind: k6x.Busy, Message: "this service is about to stop", Hint: "Try again in a few seconds.", RetryAfter: 5 * time.Second,
}

func (s *Service) builds(p k6x.Platform) bool { return slices.Contains(s.cfg.Platforms, p) }

// location returns the URL path of a path of this service as a client sees it.
func (s *Service) location(path string) string {
	return strings.TrimRight(s.cfg.URL.EscapedPath(), "/") + path
}

// absolute returns the URL of a path of this service as the client of r sees it.
func (s *Service) absolute(r *http.Request, path string) string {
	if s.cfg.URL.Host != "" {
		return s.cfg.URL.Scheme + "://" + s.cfg.URL.Host + s.location(path)
	}
	scheme := "http"
	if r.TLS != nil || s.trusts(r) && r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host + path
}

// Package service is the HTTP side of k6x: the path that names a binary, the k6build
// API, status and metrics.
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
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/builder"
	"k6x/builder/remote"
	"k6x/cache"
	"k6x/event"
	"k6x/resolver"
	"k6x/service/pages"
)

// Config says what a [Service] is made of. Resolver, Builder, Store and Settings are needed;
// the zero value of everything else works.
type Config struct {
	Resolver  *resolver.Resolver
	Builder   builder.Builder
	Store     cache.Store
	Settings  k6x.Settings     // what recipes are made with
	Logs      *cache.Logs      // keeps the logs of builds; nil: they are not kept
	Pin       func(key string) // called for what was preloaded; nil: nothing
	Platforms []k6x.Platform   // nil: k6x.DefaultPlatforms
	URL       *url.URL         // what clients see in front of the paths; nil: as the request says
	Trusted   []netip.Prefix   // peers whose X-Forwarded-For and X-Forwarded-Proto are believed
	Metrics   *Metrics         // nil: a new one
	Logger    *slog.Logger     // nil: discard
	Tokens    *Tokens          // needed for the build API and for first builds; nil: none is needed
	BasePath  string           // such as /k6x: requests are served with and without it, and links have it; "": none
	Redirect  bool             // send downloads of a binary to the store, if it can sign URLs
	Version   Version          // what /version tells
	State     func() State     // how full things are, for /status; nil: that is not known
	NoPages   bool             // no HTML for browsers
	Parts     func() []Part    // how what the service needs is, for /ready; nil: that is not known

	// Compress names the content codings (see [Codings]) in which binaries are sent to clients
	// that accept them. A form is made in the background when the first client would have
	// taken it, by [Service.Compress], and is kept in the store. Nil: none.
	Compress []string

	// Publish puts a binary, which open opens, where clients of the build API shall download
	// it, and returns the URL; it is called for each answer. Nil: the URL is the canonical path.
	Publish func(ctx context.Context, digest string, open func(context.Context) (*cache.Entry, error)) (string, error)

	// MaxWait is how long a request waits before it is redirected to itself; 0: as
	// long as it takes.
	MaxWait time.Duration
	// LatestMaxAge is how long an answer to an open request may be cached; 0: not at all.
	LatestMaxAge time.Duration
	// BuildMaxAge is how long an answer to GET /build may be cached; 0: not without asking.
	BuildMaxAge time.Duration
	// Open bounds the bytes of different binaries that clients may have open at once, a quarter of that for each client; 0: no bound.
	Open int64
	// Stall is how long a client may take for a few megabytes; 0: 5 minutes.
	Stall time.Duration
	// Downloads is how many binaries are open at once to be sent, each perhaps with a compressed form of it. Of requests beyond half
	// as many wait for a while; others get an error of kind Busy; 0: no limit.
	Downloads int

	// Builds is what came of builds, and what happens to those under way; the zero value: it is not known.
	Builds Builds

	// Workers are the machines that build for this service; the zero value: there are none.
	Workers Workers

	// Progress returns how far the build of a canonical path is, and whether one runs, as [event.Stream.Running] does;
	// nil: that is not known.
	Progress func(path string) (event.Event, bool)
}

// Service answers requests.
type Service struct {
	front
	cfg      Config
	pages    *pages.Pages // nil: there are none
	texts    pages.Texts
	started  time.Time
	router   *chi.Mux
	signer   signer                           // nil unless clients are sent to the store
	unsigned sync.Once                        // tells that the signer cannot sign
	records  *lru.Cache[string, k6x.Artifact] // see recorded
	paths    *lru.Cache[string, named]        // see parse
	digests  *lru.Cache[string, string]       // to the keys of binaries that were sent
	variants *variants                        // nil if nothing is compressed
	held     downloads
	draining chan struct{}
	drain    sync.Once
	offers   catalogues
	grids    grids
	wanted   chan Extension                // that were shown, and of which something is to be found out
	begun    *lru.Cache[string, time.Time] // when that last was, by name
	asking   atomic.Int64                  // Unix time in nanoseconds until which no page asks for versions
	sending  chan struct{}                 // one is in it for each binary that is open to be sent; nil: they are not bounded
	waiting  chan struct{}                 // and one for each request that waits for a place in sending
}

// New returns a service.
func New(cfg Config) *Service {
	if cfg.Platforms == nil {
		cfg.Platforms = k6x.DefaultPlatforms()
	}
	for _, p := range cfg.Platforms {
		cfg.Version.Platforms = append(cfg.Version.Platforms, p.String())
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
	if cfg.BasePath = strings.Trim(cfg.BasePath, "/"); cfg.BasePath != "" {
		cfg.BasePath = "/" + cfg.BasePath
	}
	records, _ := lru.New[string, k6x.Artifact](keptRecords) // fails for a size below one only
	paths, _ := lru.New[string, named](keptPaths)
	digests, _ := lru.New[string, string](keptDigests)
	begun, _ := lru.New[string, time.Time](keptBegun)
	s := &Service{
		front:    front{metrics: cfg.Metrics, logger: cfg.Logger, trusted: cfg.Trusted, stall: cfg.Stall},
		cfg:      cfg,
		records:  records,
		paths:    paths,
		digests:  digests,
		held:     downloads{limit: cfg.Open},
		wanted:   make(chan Extension, maxWanted),
		begun:    begun,
		draining: make(chan struct{}),
		started:  time.Now().UTC(),
	}
	s.variants = newVariants(cfg.Compress, cfg.Store, cfg.Logger, s.knows, s.keyOf)
	var err error
	if s.texts, err = pages.LoadTexts(); err == nil && !cfg.NoPages {
		s.pages, err = pages.New(pages.Config{Base: s.location("")})
	}
	if err != nil {
		panic(err) // of what is embedded
	}
	if cfg.Downloads > 0 {
		s.sending, s.waiting = make(chan struct{}, cfg.Downloads), make(chan struct{}, (cfg.Downloads+1)/2)
	}
	if cfg.Redirect {
		s.signer, _ = cfg.Store.(signer)
		if s.signer == nil {
			cfg.Logger.Warn("the store cannot sign URLs; downloads are not redirected")
		}
	}
	s.front.lost = s.lost
	s.router = s.front.router(s.routes())
	s.router.NotFound(s.adapt(route{http.MethodGet, "", notFound, s.fail})) // a request without a path, as OPTIONS * has it
	return s
}

// routes is the table of what the service answers, which openapi.yaml describes.
func (s *Service) routes() []route {
	return []route{
		{http.MethodGet, "/", s.index, s.fail},
		{http.MethodGet, "/alive", s.alive, s.fail},
		{http.MethodGet, "/ready", s.ready, s.fail},
		{http.MethodGet, "/version", s.version, s.fail},
		{http.MethodGet, "/logs/{key}", s.buildLog, s.fail},
		{http.MethodGet, progressPath + "/*", s.progress, s.fail},
		{http.MethodGet, buildPath, s.buildByQuery, s.failNested},
		{http.MethodPost, buildPath, s.sameOrigin(s.buildByBody), s.failNested},
		{http.MethodPost, resolvePath, s.sameOrigin(s.resolveByBody), s.failNested},
		{http.MethodGet, "/builds", s.visible(s.listBuilds), s.fail},
		{http.MethodPost, "/builds", s.changing(s.startBuild), s.fail},
		{http.MethodGet, "/builds/{id}", s.visible(s.oneBuild), s.fail},
		{http.MethodGet, "/builds/{id}/events", s.visible(s.buildEvents), s.fail},
		{http.MethodGet, "/builds/{id}/events.bep", s.visible(s.buildEvents), s.fail},
		{http.MethodGet, "/builds/{id}/events.bep.json", s.visible(s.buildEvents), s.fail},
		{http.MethodGet, "/builds/{id}/log", s.visible(s.buildLogByID), s.fail},
		{http.MethodPost, "/builds/{id}/retry", s.changing(s.retryBuild), s.fail},
		{http.MethodGet, "/matrix", s.visible(s.matrix), s.fail},
		{http.MethodGet, "/changes", s.visible(s.changes), s.fail},
		{http.MethodGet, "/changes.atom", s.visible(s.feed), s.fail},
		{http.MethodGet, "/cas/{digest}", s.byDigest, s.fail},
		{http.MethodGet, "/extensions", s.listExtensions, s.fail},
		{http.MethodGet, "/status", s.status, s.fail},
		{http.MethodPost, remote.RegisterPath, s.sameOrigin(s.forWorkers(s.isWorker, s.registerWorker)), s.fail},
		{http.MethodGet, remote.ConnectPath, s.forWorkers(anyone, s.connectWorker), s.fail},
		{http.MethodGet, remote.CachePath + "/*", s.forWorkers(anyone, s.readCache), s.fail},
		{http.MethodPost, "/workers/{name}/{action}", s.sameOrigin(s.forWorkers(s.isOperator, s.changeWorker)), s.fail},
		{http.MethodGet, "/help", s.help, s.fail},
		{http.MethodGet, "/assets/{digest}/{name}", s.asset, s.fail},
		{http.MethodGet, "/openapi.yaml", s.openapi, s.fail},
		{http.MethodGet, metricsPath, s.metrics.serve, s.fail},
		{http.MethodGet, anyPath, s.binary, s.fail},
	}
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, raw := s.inside(r.URL.Path), s.inside(r.URL.RawPath)
	if path != r.URL.Path || raw != r.URL.RawPath {
		u, inner := *r.URL, *r
		u.Path, u.RawPath = path, raw
		inner.URL = &u
		r = &inner
	}
	s.router.ServeHTTP(w, s.plainJSON(r))
}

// inside returns a URL path without the base path. One that is too short for a binary is
// also freed of the slashes too many that come of joining a base URL and a path. The
// metrics have one name, or a proxy could not keep them to itself by it.
func (s *Service) inside(path string) string {
	if !strings.HasPrefix(path, "/") {
		return path
	}
	outside := path
	if base := s.cfg.BasePath; base != "" {
		trimmed := "/" + strings.TrimLeft(path, "/")
		if rest, ok := strings.CutPrefix(trimmed, base); ok && (rest == "" || rest[0] == '/') {
			path = "/" + strings.TrimPrefix(rest, "/")
		}
	}
	if short := strings.Trim(path, "/"); strings.Count(short, "/") < 2 {
		path = "/" + short
	}
	if path == metricsPath && outside != metricsPath && outside != s.cfg.BasePath+metricsPath {
		return outside
	}
	return path
}

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

var errDraining = k6x.Errorf(k6x.Busy, "this service is about to stop").WithRetry(5 * time.Second)

func (s *Service) builds(p k6x.Platform) bool { return slices.Contains(s.cfg.Platforms, p) }

// location returns the URL path of a path of this service as a client sees it. A path in
// the URL of the configuration says all, else it is the base path that goes before.
func (s *Service) location(path string) string {
	if base := strings.TrimRight(s.cfg.URL.EscapedPath(), "/"); base != "" {
		return base + path
	}
	return (&url.URL{Path: s.cfg.BasePath}).EscapedPath() + path
}

// absolute returns the URL of a path of this service as the client of r sees it.
func (s *Service) absolute(r *http.Request, path string) string {
	return s.base(s.origin(r).String()) + s.location(path)
}

// base returns what clients see in front of paths: origin, unless the configuration says so.
func (s *Service) base(origin string) string {
	if s.cfg.URL.Host != "" {
		return s.cfg.URL.Scheme + "://" + s.cfg.URL.Host
	}
	return origin
}

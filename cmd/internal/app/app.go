// Package app makes a service of its parts, and runs it.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/fast"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/journal"
	"k6x/cmd/internal/buildevents"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/resolver"
	"k6x/service"
	"k6x/watch"
	"k6x/webhook"
)

// App is the service with all it is made of.
type App struct {
	options   Options
	logger    *slog.Logger
	host      k6x.Platform
	tools     *Tools
	engine    *native.Engine
	resolver  *resolver.Resolver
	store     *binaries
	logs      *cache.Logs
	events    event.Stream // of builds
	entries   blob.Bucket  // of journals
	journals  []*journal.Journal
	builds    service.Builds // the zero value if the process ends after one build
	watcher   *watch.Watcher // nil: nothing is watched
	streams   *buildevents.Builds
	webhooks  []*webhook.Sender
	limit     *builder.Limit
	dedup     *builder.Dedup
	Service   *service.Service
	tokens    *service.Tokens
	workers   service.Workers // the zero value: none may dial in
	metrics   *service.Metrics
	observer  func(place string) blob.Observer // of exchanges with places for binaries
	health    health
	storePart *part          // of health
	alone     *native.Engine // for what is verified here; nil: nothing is
	sizes     goCaches
	offers    bool        // the shared build cache is one of its own, for workers
	asked     sync.Map    // for which scopes of it compilesFirst was asked
	making    sync.Mutex  // held while room is made on a full disk
	telling   sync.Mutex  // guards told
	told      []time.Time // when workers were quarantined of which the history tells
	preload   []service.Target
	work      sync.WaitGroup
}

// New makes the service. It does not listen yet.
func New(ctx context.Context, o Options, logger *slog.Logger) (_ *App, err error) {
	a := &App{options: o, logger: logger, host: k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, metrics: service.NewMetrics()}
	a.observer = a.metrics.ObserveStore()
	a.addParts()
	cfg, err := a.validate()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	if cfg.Platforms, err = choosePlatforms(ctx, a.tools.Tool, o.Platforms); err != nil {
		return nil, err
	}
	if err := a.assemble(cfg); err != nil {
		return nil, err
	}
	return a, errors.Join(a.openWatcher(cfg.Platforms), a.openWebhooks())
}

// validate returns the part of the service's configuration that the options say by themselves.
func (a *App) validate() (service.Config, error) {
	o := a.options
	fail := func(err error) (service.Config, error) { return service.Config{}, err }
	if o.MaxBuilds < 1 || o.Queue < 0 {
		return fail(&cli.UsageError{Err: errors.New("--max-builds is at least 1, --queue at least 0")})
	}
	for flag, d := range map[string]time.Duration{"build-timeout": o.BuildTimeout, "max-wait": o.MaxWait, "latest-max-age": o.LatestMaxAge,
		"cache-max-age": o.BuildMaxAge, "news-keep": o.NewsKeep, "shutdown-timeout": o.ShutdownTimeout} {
		if d < 0 {
			return fail(&cli.UsageError{Err: fmt.Errorf("--%s %s: a time is not negative", flag, d)})
		}
	}
	if slices.Equal(o.Compress, []string{"none"}) { // a variable cannot be empty
		o.Compress = nil
	}
	for _, name := range o.Compress {
		if !slices.Contains(service.Codings(), name) {
			return fail(&cli.UsageError{Err: fmt.Errorf("--compress %s: what can be compressed with is %s", name, strings.Join(service.Codings(), ", "))})
		}
	}
	if err := (resolver.Config{Filter: o.Filter, AllowModules: o.AllowModules}).Check(); err != nil {
		return fail(cli.Usage(err))
	}
	base, err := baseURL(o.URL)
	if err != nil {
		return fail(err)
	}
	trusted, err := prefixes(o.TrustedProxies)
	if err != nil {
		return fail(err)
	}
	for _, list := range o.Preload {
		targets, err := service.ParsePreload(list, a.host)
		if err != nil {
			return fail(cli.Usage(fmt.Errorf("--preload %s: %w", list, err)))
		}
		a.preload = append(a.preload, targets...)
	}
	if o.AuthTokenFile != "" {
		if a.tokens, err = service.LoadTokens(o.AuthTokenFile); err != nil {
			return fail(err)
		}
	}
	return service.Config{
		URL: base, Trusted: trusted, Tokens: a.tokens, Compress: o.Compress, BasePath: o.BasePath, Redirect: o.RedirectDownloads, Publish: o.Publish,
		MaxWait: o.MaxWait, LatestMaxAge: o.LatestMaxAge, BuildMaxAge: o.BuildMaxAge, Logger: a.logger, Open: openLimit(o),
		NoPages: o.NoPages,
	}, nil
}

// eventsURL returns what stands before paths in the URLs that clients see; "" if that is not known.
func eventsURL(o Options) string {
	base, err := baseURL(o.URL)
	if err != nil || base == nil {
		return ""
	}
	if strings.Trim(base.Path, "/") == "" {
		base.Path = o.BasePath
	}
	return strings.TrimRight(base.String(), "/")
}

// openLimit returns how many bytes clients may keep open: half of what the store may take here, as what is open takes room that the store does not
// count any more once it was removed.
func openLimit(o Options) int64 {
	limit := o.StoreSize
	if o.inBucket() {
		limit = o.NearSize
	}
	if limit <= 0 {
		return 0
	}
	return max(limit/2, 1<<30)
}

// open opens what is outside of this process: the go command, directories, buckets, registries.
func (a *App) open(ctx context.Context) (err error) {
	o := a.options
	if a.tools, err = OpenTools(ctx, ToolsConfig{Env: o.Env, Direct: o.Direct, Sandbox: o.Sandbox, Logger: a.logger}); err != nil {
		return cli.WrongUsage(err)
	}
	a.announce()
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return k6x.Errorf(k6x.Internal, "the cache directory cannot be made: %w", err).
			WithHint("Choose another one with --cache-dir.")
	}
	if a.store, err = a.openStore(ctx); err != nil {
		return err
	}
	if a.logs, err = cache.OpenLogs(filepath.Join(o.CacheDir, "logs"), 400, 1<<20); err != nil {
		return err
	}
	if o.Lifetime == builder.Resident {
		if err := a.openHistory(); err != nil {
			return err
		}
	}
	a.streams, err = o.BuildEvents.OpenBuilds(buildevents.BuildsConfig{URL: eventsURL(o), Logger: a.logger})
	if err != nil {
		return err
	}
	shared, err := a.buildCache()
	if err != nil {
		return err
	}
	a.engine, err = a.tools.OpenNative(ctx, a.nativeConfig(), shared, sendEnd)
	if err != nil {
		return cli.WrongUsage(err)
	}
	cfg := a.tools.Resolving(a.engine)
	cfg.Registries, cfg.Filter, cfg.AllowModules, cfg.AllowBuildSemvers, cfg.Cgo = o.Registries, o.Filter, o.AllowModules, o.AllowBuildSemvers, o.Cgo
	cfg.Dir = filepath.Join(o.CacheDir, "resolver")
	a.resolver, err = resolver.New(ctx, cfg)
	return err
}

func (a *App) nativeConfig() native.Config {
	return native.Config{Timeout: a.options.BuildTimeout, Cgo: a.options.Cgo}
}

// assemble stacks what was opened.
func (a *App) assemble(cfg service.Config) (err error) {
	o, metrics := a.options, a.metrics
	var verify event.Sink
	events := event.Tee(a.events.Publish, a.record, metrics.Count, logBuilds(a.logger), service.KeepLogs(a.logs, a.logger),
		a.streams.Publish, o.Events, func(e event.Event) { verify.Send(e) })
	count := func(name, help string, value func() float64) { metrics.Counter(name, help, value) }
	var engine builder.Engine = fast.New(a.engine, fast.Config{Lifetime: o.Lifetime, Counter: count, Logger: a.logger}) // a.engine alone runs go build always
	if o.Workers.On && o.Workers.Verify > 0 {
		if a.alone, engine, err = a.tools.OpenAlone(context.Background(), a.nativeConfig(), o.CacheDir, a.engine, engine); err != nil {
			return err
		}
	}
	if cfg.Workers, err = a.openWorkers(engine); err != nil {
		return err
	}
	a.workers = cfg.Workers
	var places builder.Places
	if hub := cfg.Workers.Hub; hub != nil {
		engine, places = hub, hub
	}
	a.limit = builder.NewLimit(builder.Roomy(builder.Keep(engine, a.store, events), a.makeRoom), builder.LimitConfig{
		Slots: o.MaxBuilds, Places: places, Queue: cmp.Or(o.Queue, -1), // 0 in the config is the default, but no place on the command line
		Leases: a.store.leases, Events: events,
	})
	a.dedup = builder.NewDedup(a.limit, builder.DedupConfig{Events: events})
	if hub := cfg.Workers.Hub; hub != nil {
		hub.Start(a.limit.Wake)
		verify = hub.Verify(o.Workers.Verify/100, a.store.Record, a.dedup)
	}

	cfg.Resolver, cfg.Builder, cfg.Store, cfg.Logs, cfg.Metrics = a.resolver, a.dedup, a.store, a.logs, metrics
	cfg.Settings, cfg.Progress, cfg.Version, cfg.Builds = a.engine.Settings(), a.events.Running, a.version(), a.builds
	cfg.Pin = func(key string) { a.store.Pin(key) }
	cfg.Parts, cfg.Downloads, cfg.State = a.health.Parts, cli.MaxDownloads(), a.state
	a.Service = service.New(cfg)
	a.observe(metrics)
	return nil
}

// logBuilds returns a sink that logs builds that have ended; not those that will be tried again, of which the engine tells.
func logBuilds(logger *slog.Logger) event.Sink {
	return func(e event.Event) {
		if e.Type != event.Finished {
			return
		}
		attrs := []any{"path", e.Path, "key", e.Key, "duration", e.Duration, "rebuild", e.Locked, "client", e.Client}
		if f := e.Failure; f != nil {
			if _, lost := errors.AsType[*builder.Lost](f); lost {
				return
			}
			logger.Warn("build failed", append(attrs, "kind", f.Kind.String(), "error", f, "cause", f.Err)...)
			return
		}
		if e.Warnings != nil {
			attrs = append(attrs, "warnings", e.Warnings)
		}
		logger.Info("built", attrs...)
	}
}

// Start runs what goes on beside the requests until ctx ends.
func (a *App) Start(ctx context.Context) {
	a.work.Go(func() { a.resolver.Run(ctx) })
	a.work.Go(func() { a.Service.Preload(ctx, a.preload) })
	a.work.Go(func() { a.maintain(ctx) })
	a.work.Go(func() { a.health.run(ctx) })
	a.work.Go(func() { a.Service.Compress(ctx) })
	for range 2 { // fewer than a resolver fetches at once from where modules are developed
		a.work.Go(func() { a.Service.LookUp(ctx) })
	}
	a.work.Go(func() { a.builds.History.Run(ctx) })
	a.work.Go(func() { a.builds.Recorder.Run(ctx) })
	if a.builds.Live != nil {
		a.work.Go(func() { a.builds.Live.Run(ctx) })
	}
	if a.watcher != nil {
		a.work.Go(func() { a.watcher.Run(ctx) })
	}
	for _, w := range a.webhooks {
		a.work.Go(func() { w.Run(ctx) })
	}
}

const (
	buildsEnd = 10 * time.Second // how long canceled builds may take to end
	sendEnd   = 30 * time.Second // how long what they compiled may take to be sent
)

// Close ends builds and releases the directories.
func (a *App) Close() error {
	var errs []error
	if a.dedup != nil {
		ctx, cancel := context.WithTimeout(context.Background(), buildsEnd)
		defer cancel()
		if err := a.dedup.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("builds did not end within %s of being canceled: %w", buildsEnd, err))
		}
	}
	a.work.Wait()
	if a.builds.Recorder != nil {
		ctx, cancel := context.WithTimeout(context.Background(), buildsEnd)
		defer cancel()
		a.builds.Recorder.Flush(ctx)
		a.builds.Live.Close(ctx)
	}
	sending, cancel := context.WithTimeout(context.Background(), sendEnd)
	defer cancel()
	errs = append(errs, a.streams.Close(sending))
	if a.tools != nil {
		errs = append(errs, a.tools.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.close())
	}
	return errors.Join(errs...)
}

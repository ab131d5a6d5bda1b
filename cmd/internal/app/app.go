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
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/resolver"
	"k6x/service"
)

// App is the service with all it is made of.
type App struct {
	options  Options
	logger   *slog.Logger
	host     k6x.Platform
	tools    *Tools
	engine   *native.Engine
	resolver *resolver.Resolver
	store    *binaries
	logs     *cache.Logs
	events   event.Stream // of builds
	limit    *builder.Limit
	dedup    *builder.Dedup
	Service  *service.Service
	preload  []service.Target
	work     sync.WaitGroup
}

// New makes the service. It does not listen yet.
func New(ctx context.Context, o Options, logger *slog.Logger) (_ *App, err error) {
	a := &App{options: o, logger: logger, host: k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}}
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
	a.assemble(cfg)
	return a, nil
}

// validate returns the part of the service's configuration that the options say by themselves.
func (a *App) validate() (service.Config, error) {
	o := a.options
	fail := func(err error) (service.Config, error) { return service.Config{}, err }
	if o.MaxBuilds < 1 || o.Queue < 0 {
		return fail(&cli.UsageError{Err: errors.New("--max-builds is at least 1, --queue at least 0")})
	}
	if slices.Equal(o.Compress, []string{"none"}) { // a variable cannot be empty
		o.Compress = nil
	}
	for _, name := range o.Compress {
		if !slices.Contains(service.Codings(), name) {
			return fail(&cli.UsageError{Err: fmt.Errorf("--compress %s: what can be compressed with is %s", name, strings.Join(service.Codings(), ", "))})
		}
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
			return fail(fmt.Errorf("--preload %s: %w", list, err))
		}
		a.preload = append(a.preload, targets...)
	}
	var tokens *service.Tokens
	if o.AuthTokenFile != "" {
		if tokens, err = service.LoadTokens(o.AuthTokenFile); err != nil {
			return fail(err)
		}
	}
	return service.Config{
		URL: base, Trusted: trusted, Tokens: tokens, Compress: o.Compress, BasePath: o.BasePath, Redirect: o.RedirectDownloads, Publish: o.Publish,
		MaxWait: o.MaxWait, LatestMaxAge: o.LatestMaxAge, BuildMaxAge: o.BuildMaxAge, Logger: a.logger,
	}, nil
}

// open opens what is outside of this process: the go command, directories, buckets, registries.
func (a *App) open(ctx context.Context) (err error) {
	o := a.options
	if a.tools, err = OpenTools(ctx, ToolsConfig{Env: o.Env, Direct: o.Direct, Sandbox: o.Sandbox, Logger: a.logger}); err != nil {
		return err
	}
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return k6x.Errorf(k6x.Internal, "the cache directory cannot be made: %w", err).
			WithHint("Choose another one with --cache-dir.")
	}
	if a.store, err = a.openStore(ctx); err != nil {
		return err
	}
	if a.logs, err = cache.OpenLogs(filepath.Join(o.CacheDir, "logs"), 200, 1<<20); err != nil {
		return err
	}
	a.engine, err = a.tools.OpenNative(ctx, native.Config{Timeout: o.BuildTimeout, Cgo: o.Cgo},
		BuildCacheConfig{URL: o.BuildCache, ReadOnly: o.BuildCacheReading, CacheDir: o.CacheDir}, sendEnd)
	if err != nil {
		return err
	}
	tool := a.tools.Tool
	a.resolver, err = resolver.New(ctx, resolver.Config{
		Registries: o.Registries, Filter: o.Filter, AllowModules: o.AllowModules, AllowBuildSemvers: o.AllowBuildSemvers, Cgo: o.Cgo,
		Toolchain: tool.Version, Dir: filepath.Join(o.CacheDir, "resolver"),
		Go: tool.Path, Env: a.engine.Env(), Run: a.engine.RunFetching, Egress: tool.Egress, Logger: a.logger,
	})
	return err
}

// assemble stacks what was opened.
func (a *App) assemble(cfg service.Config) {
	o, metrics := a.options, service.NewMetrics()
	events := event.Tee(a.events.Publish, metrics.Count, logBuilds(a.logger), service.KeepLogs(a.logs, a.logger))
	engine := fast.New(a.engine, fast.Config{Lifetime: o.Lifetime, Counter: metrics.Counter, Logger: a.logger}) // a.engine alone runs go build always
	a.limit = builder.NewLimit(builder.Keep(engine, a.store, events), builder.LimitConfig{
		Slots: o.MaxBuilds, Queue: cmp.Or(o.Queue, -1), // 0 in the config is the default, but no place on the command line
		Leases: a.store.leases, Events: events,
	})
	a.dedup = builder.NewDedup(a.limit, builder.DedupConfig{Events: events})

	cfg.Resolver, cfg.Builder, cfg.Store, cfg.Logs, cfg.Metrics = a.resolver, a.dedup, a.store, a.logs, metrics
	cfg.Settings, cfg.Progress, cfg.Version = a.engine.Settings(), a.events.Running, a.version()
	cfg.Pin = func(key string) { a.store.Pin(key) }
	a.Service = service.New(cfg)
	a.observe(metrics)
}

// observe makes visible what is known besides requests and builds.
func (a *App) observe(metrics *service.Metrics) {
	report, level := a.tools.Cage.Report(), slog.LevelInfo
	if a.options.Lifetime == builder.OneShot {
		level = slog.LevelDebug
	}
	a.logger.Log(context.Background(), level, "sandbox", "state", report.State, "lacks", report.Lacks)
	metrics.Sandbox(report.State)
	if a.tools.Shared != nil {
		a.tools.Shared.register(metrics)
	}
	gauge := func(name, help string, value func() int) {
		metrics.Gauge(name, help, func() float64 { return float64(value()) })
	}
	gauge("k6x_builds_running", "Builds under way.", func() int { return a.limit.Stats().Running })
	gauge("k6x_queue_length", "Builds that wait for their turn, those that nobody waits for left out.", func() int { return a.limit.Stats().Waiting })
	gauge("k6x_background_queue_length", "Builds that nobody waits for and that wait for their turn.", func() int { return a.limit.Stats().Behind })
	metrics.Gauge("k6x_store_bytes", "Bytes of stored binaries and records.", func() float64 { return float64(a.store.Stats().Bytes) })
	gauge("k6x_store_artifacts", "Stored binaries.", func() int { return a.store.Stats().Artifacts })
	metrics.Counter("k6x_store_evictions_total", "Binaries removed to make room.", func() float64 { return float64(a.store.Stats().Evictions) })
	gauge("k6x_registries_stale", "Registries that are out of reach.", func() int {
		return len(slices.DeleteFunc(a.resolver.Sources(), func(s resolver.SourceStatus) bool { return !s.Stale }))
	})
}

// logBuilds returns a sink that logs builds that have ended.
func logBuilds(logger *slog.Logger) event.Sink {
	return func(e event.Event) {
		if e.Type != event.Finished {
			return
		}
		attrs := []any{"path", e.Path, "key", e.Key, "duration", e.Duration, "rebuild", e.Locked, "client", e.Client}
		if f := e.Failure; f != nil {
			logger.Warn("build failed", append(attrs, "kind", f.Kind.String(), "error", f, "cause", f.Err)...)
			return
		}
		logger.Info("built", attrs...)
	}
}

// Start runs what goes on beside the requests until ctx ends.
func (a *App) Start(ctx context.Context) {
	a.work.Go(func() { a.resolver.Run(ctx) })
	a.work.Go(func() { a.Service.Preload(ctx, a.preload) })
	a.work.Go(func() { a.maintain(ctx) })
	a.work.Go(func() { a.Service.Compress(ctx) })
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
	if a.tools != nil {
		errs = append(errs, a.tools.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.close())
	}
	return errors.Join(errs...)
}

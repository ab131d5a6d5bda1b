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
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/egress"
	"k6x/resolver"
	"k6x/service"
)

// App is the service with all it is made of.
type App struct {
	options  Options
	logger   *slog.Logger
	tool     *gotool.Tool
	host     k6x.Platform
	cage     *cage.Cage
	store    *binaries
	events   event.Stream // of builds
	builds   *BuildCache  // nil: it is not shared
	engine   *native.Engine
	dedup    *builder.Dedup
	resolver *resolver.Resolver
	Service  *service.Service
	preload  []service.Wish
	work     sync.WaitGroup
}

// New makes the service. It does not listen yet.
func New(ctx context.Context, o Options, logger *slog.Logger) (_ *App, err error) {
	a := &App{options: o, logger: logger, host: k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}}
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	if o.MaxBuilds < 1 || o.Queue < 0 {
		return nil, &cli.UsageError{Err: errors.New("--max-builds is at least 1, --queue at least 0")}
	}
	if slices.Equal(o.Compress, []string{"none"}) { // a variable cannot be empty
		o.Compress = nil
	}
	for _, name := range o.Compress {
		if !slices.Contains(service.Codings(), name) {
			return nil, &cli.UsageError{Err: fmt.Errorf("--compress %s: what can be compressed with is %s", name, strings.Join(service.Codings(), ", "))}
		}
	}
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, err
	}
	trusted, err := prefixes(o.TrustedProxies)
	if err != nil {
		return nil, err
	}
	if a.tool, err = gotool.Find(ctx, o.Env, o.Direct); err != nil {
		return nil, err
	}
	if a.tool.Egress, err = egress.Start(a.tool.Fetch, logger); err != nil {
		return nil, err
	}
	platforms, err := choosePlatforms(ctx, a.tool, o.Platforms)
	if err != nil {
		return nil, err
	}
	for _, list := range o.Preload {
		wishes, err := service.ParsePreload(list, a.host)
		if err != nil {
			return nil, fmt.Errorf("--preload %s: %w", list, err)
		}
		a.preload = append(a.preload, wishes...)
	}
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return nil, k6x.Errorf(k6x.Internal, "the cache directory cannot be made: %w", err).
			WithHint("Choose another one with --cache-dir.")
	}
	var tokens *service.Tokens
	if o.AuthTokenFile != "" {
		if tokens, err = service.LoadTokens(o.AuthTokenFile); err != nil {
			return nil, err
		}
	}
	metrics := service.NewMetrics()
	if a.store, err = a.openStore(ctx); err != nil {
		return nil, err
	}
	logs, err := cache.OpenLogs(filepath.Join(o.CacheDir, "logs"), 200, 1<<20)
	if err != nil {
		return nil, err
	}
	if a.cage, err = o.Sandbox.Cage(); err != nil {
		return nil, err
	}
	cfg := native.Config{Tool: a.tool, Dir: GoDir(o.CacheDir), Timeout: o.BuildTimeout, Cage: a.cage, Cgo: o.Cgo, ConfirmLater: !o.Once, Hurried: o.Once, Logger: logger}
	if o.BuildCache != "" {
		if a.builds, err = OpenBuildCache(ctx, BuildCacheConfig{
			URL: o.BuildCache, ReadOnly: o.BuildCacheReading, CacheDir: o.CacheDir, Logger: logger,
		}); err != nil {
			return nil, fmt.Errorf("--build-cache: %w", err)
		}
		a.builds.register(metrics)
		cfg.BuildCache = a.builds
	}
	if a.engine, err = native.New(ctx, cfg); err != nil {
		return nil, err
	}
	if a.resolver, err = resolver.New(ctx, resolver.Config{
		Registries: o.Registries, Filter: o.Filter, AllowModules: o.AllowModules, AllowBuildSemvers: o.AllowBuildSemvers, Cgo: o.Cgo,
		Toolchain: a.tool.Version, Dir: filepath.Join(o.CacheDir, "resolver"),
		Go: a.tool.Path, Env: a.engine.Env(), Run: a.engine.RunFetching, Egress: a.tool.Egress, Logger: logger,
	}); err != nil {
		return nil, err
	}
	events := event.Tee(a.events.Publish, metrics.Count, logBuilds(logger), service.KeepLogs(logs, logger))
	limit := builder.NewLimit(builder.Keep(a.engine, a.store, events), builder.LimitConfig{
		Slots: o.MaxBuilds, Queue: cmp.Or(o.Queue, -1), // 0 in the config is the default, but no place on the command line
		Leases: a.store.leases, Events: events,
	})
	a.dedup = builder.NewDedup(limit, builder.DedupConfig{Events: events})
	a.Service = service.New(service.Config{
		Resolver: a.resolver, Builder: a.dedup, Store: a.store, Settings: a.engine.Settings(), Logs: logs,
		Pin: func(key string) { a.store.Pin(key) }, Platforms: platforms, URL: base, Trusted: trusted,
		Metrics: metrics, Logger: logger, MaxWait: o.MaxWait, LatestMaxAge: o.LatestMaxAge,
		BuildMaxAge: o.BuildMaxAge, Tokens: tokens, Publish: o.Publish, BasePath: o.BasePath, Redirect: o.RedirectDownloads,
		Progress: a.events.Running, Compress: o.Compress, Version: a.version(),
	})
	report := a.cage.Report()
	metrics.Sandbox(report.State)
	if o.Once {
		logger.Debug("sandbox", "state", report.State, "lacks", report.Lacks)
	} else {
		logger.Info("sandbox", "state", report.State, "lacks", report.Lacks)
	}
	metrics.Gauge("k6x_builds_running", "Builds under way.", func() float64 { return float64(limit.Stats().Running) })
	metrics.Gauge("k6x_queue_length", "Builds that wait for their turn, those that nobody waits for left out.", func() float64 { return float64(limit.Stats().Waiting) })
	metrics.Gauge("k6x_background_queue_length", "Builds that nobody waits for and that wait for their turn.", func() float64 { return float64(limit.Stats().Behind) })
	metrics.Counter("k6x_builds_refuted_total", "Binaries that were answered and that go build then refused to make, or made in another way.",
		func() float64 { return float64(a.engine.RefutedBuilds()) })
	metrics.Gauge("k6x_store_bytes", "Bytes of stored binaries and records.", func() float64 { return float64(a.store.Stats().Bytes) })
	metrics.Gauge("k6x_store_artifacts", "Stored binaries.", func() float64 { return float64(a.store.Stats().Artifacts) })
	metrics.Counter("k6x_store_evictions_total", "Binaries removed to make room.", func() float64 { return float64(a.store.Stats().Evictions) })
	metrics.Gauge("k6x_registries_stale", "Registries that are out of reach.", func() float64 {
		return float64(len(slices.DeleteFunc(a.resolver.Sources(), func(s resolver.SourceStatus) bool { return !s.Stale })))
	})
	return a, nil
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
	if a.engine != nil {
		errs = append(errs, a.engine.Close())
	}
	if a.tool != nil {
		errs = append(errs, a.tool.Egress.Close())
	}
	if a.builds != nil {
		errs = append(errs, a.builds.Close(sendEnd))
	}
	if a.store != nil {
		errs = append(errs, a.store.close())
	}
	return errors.Join(errs...)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/dir"
	"k6x/gotool"
	"k6x/resolver"
	"k6x/service"
)

// serviceOptions are the flags of k6x service.
type serviceOptions struct {
	addr, url         string
	registries        []string
	filter            string
	allowModules      string
	platforms         []string
	cacheDir          string
	storeSize         byteSize
	goCacheSize       byteSize
	maxBuilds, queue  int
	buildTimeout      time.Duration
	maxWait           time.Duration
	latestMaxAge      time.Duration
	env               []string
	allowBuildSemvers bool
	preload           []string
	trustedProxies    []string
	logLevel          slog.Level
	logFormat         string
	shutdownTimeout   time.Duration
}

func newServiceCommand() *cobra.Command {
	o := serviceOptions{storeSize: 20 << 30, goCacheSize: 10 << 30}
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Serve k6 binaries, built on first use",
		Long: `Serve k6 binaries: GET /{goos}/{goarch}/{list} answers with one binary, which is built on
first use and is the same for ever. It needs the go command on PATH, and git where modules
are fetched without a module proxy.`,
		Example: `  k6x service
  k6x service --addr :8787 --url https://builds.example.com --max-wait 25s
  k6x service --filter "[?tier=='official']" --preload k6,k6/x/redis:linux/amd64`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runService(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.addr, "addr", "127.0.0.1:8787", "`address` to listen on")
	f.StringVar(&o.url, "url", "", "`base` URL that clients see, when a proxy is in front; may have a path")
	f.StringArrayVar(&o.registries, "registry", nil,
		"`location` of a registry: file, URL, or embedded; repeated ones overlay those before (default "+resolver.DefaultRegistry+")")
	f.StringVar(&o.filter, "filter", "", "jmespath `expression` over the registry's entries: what may be built (default [*])")
	f.StringVar(&o.allowModules, "allow-modules", "",
		"`patterns` as in GOPRIVATE of Go modules that may be named without being registered (default none)")
	f.StringSliceVar(&o.platforms, "platforms", platformNames(k6x.DefaultPlatforms()), "`list` of platforms to build for")
	f.StringVar(&o.cacheDir, "cache-dir", cache.DefaultDir(), "`directory` for binaries, modules and Go's build cache")
	f.Var(&o.storeSize, "store-size", "`bytes` that stored binaries may take, such as 20GiB; 0 is no limit")
	f.Var(&o.goCacheSize, "go-cache-size", "`bytes` that Go's build cache and module cache may take each; 0 is no limit")
	f.IntVar(&o.maxBuilds, "max-builds", max(1, runtime.NumCPU()/2), "`number` of builds at once")
	f.IntVar(&o.queue, "queue", 64, "`number` of builds that may wait for their turn")
	f.DurationVar(&o.buildTimeout, "build-timeout", 15*time.Minute, "how long one build may take, its wait not counted")
	f.DurationVar(&o.maxWait, "max-wait", 0,
		"how long a request waits for a build before it is redirected to itself, for use behind a proxy with a short timeout; 0 is as long as it takes")
	f.DurationVar(&o.latestMaxAge, "latest-max-age", 0, "how long the answer to a request without exact versions may be cached")
	f.StringArrayVar(&o.env, "env", nil, "`KEY=VALUE` for the environment of the go command; may be repeated")
	f.BoolVar(&o.allowBuildSemvers, "allow-build-semvers", false, "allow versions that name a commit: pseudo-versions and v0.0.0+COMMIT")
	f.StringArrayVar(&o.preload, "preload", nil,
		"`list` to build in the background at start and keep, as LIST:GOOS/GOARCH,LIST:GOOS/GOARCH; without a platform, this machine's")
	f.StringSliceVar(&o.trustedProxies, "trusted-proxies", []string{"127.0.0.0/8", "::1/128"},
		"`prefixes` of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed")
	f.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "`level` of the log: debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "`format` of the log: text or json")
	f.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running downloads may take after a signal to stop")
	return cmd
}

// runService serves until ctx ends, then lets downloads end for a while.
func runService(ctx context.Context, o serviceOptions, stdout, stderr io.Writer) (err error) {
	logger, err := o.logger(stderr)
	if err != nil {
		return err
	}
	a, err := newApp(ctx, o, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "cannot listen on %s: %w", o.addr, err).
			WithHint("Choose another address with --addr, for example --addr 127.0.0.1:0 for any free port.")
	}
	server := &http.Server{
		Handler:           a.service,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	base := cmp.Or(strings.TrimRight(o.url, "/"), "http://"+listener.Addr().String())
	fmt.Fprintf(stdout, "k6x service listens on http://%s\nTry:\n\n    curl -fL -o k6 %s && chmod +x k6 && ./k6 version\n\n",
		listener.Addr(), base+"/"+a.host.String()+"/k6,k6/x/redis")
	logger.Info("listening", "addr", listener.Addr().String(), "toolchain", a.tool.Version, "cache_dir", o.cacheDir)

	background, stop := context.WithCancel(ctx)
	defer stop()
	a.start(background)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	logger.Info("stopping: running downloads may end", "timeout", o.shutdownTimeout)
	a.service.Drain()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		logger.Warn("downloads were cut off", "error", err)
		return server.Close()
	}
	return nil
}

func (o serviceOptions) logger(w io.Writer) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: o.logLevel}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, &usageError{fmt.Errorf("--log-format is text or json, not %q", o.logFormat)}
}

// app is the service with all it is made of.
type app struct {
	options  serviceOptions
	logger   *slog.Logger
	tool     *gotool.Tool
	host     k6x.Platform
	store    *dir.Store
	engine   *native.Engine
	dedup    *builder.Dedup
	resolver *resolver.Resolver
	service  *service.Service
	preload  []service.Wish
	work     sync.WaitGroup
}

func newApp(ctx context.Context, o serviceOptions, logger *slog.Logger) (_ *app, err error) {
	a := &app{options: o, logger: logger, host: k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}}
	defer func() {
		if err != nil {
			_ = a.close()
		}
	}()
	if o.maxBuilds < 1 || o.queue < 0 {
		return nil, &usageError{errors.New("--max-builds is at least 1, --queue at least 0")}
	}
	base, err := baseURL(o.url)
	if err != nil {
		return nil, err
	}
	trusted, err := prefixes(o.trustedProxies)
	if err != nil {
		return nil, err
	}
	if a.tool, err = gotool.Find(ctx, o.env); err != nil {
		return nil, err
	}
	platforms, err := choosePlatforms(ctx, a.tool, o.platforms)
	if err != nil {
		return nil, err
	}
	for _, list := range o.preload {
		wishes, err := service.ParsePreload(list, a.host)
		if err != nil {
			return nil, fmt.Errorf("--preload %s: %w", list, err)
		}
		a.preload = append(a.preload, wishes...)
	}
	if err := os.MkdirAll(o.cacheDir, 0o755); err != nil {
		return nil, k6x.Errorf(k6x.Internal, "the cache directory cannot be made: %w", err).
			WithHint("Choose another one with --cache-dir.")
	}
	metrics := service.NewMetrics()
	if a.store, err = dir.Open(dir.Config{Dir: filepath.Join(o.cacheDir, "store"), Size: int64(o.storeSize), Logger: logger}); err != nil {
		return nil, err
	}
	logs, err := cache.OpenLogs(filepath.Join(o.cacheDir, "logs"), 200, 1<<20)
	if err != nil {
		return nil, err
	}
	if a.engine, err = native.New(ctx, native.Config{
		Tool: a.tool, Dir: filepath.Join(o.cacheDir, "go"), Timeout: o.buildTimeout, Logger: logger,
	}); err != nil {
		return nil, err
	}
	if a.resolver, err = resolver.New(ctx, resolver.Config{
		Registries: o.registries, Filter: o.filter, AllowModules: o.allowModules, AllowBuildSemvers: o.allowBuildSemvers,
		Toolchain: a.tool.Version, Dir: filepath.Join(o.cacheDir, "resolver"),
		Go: a.tool.Path, Env: a.engine.Env(), Logger: logger,
	}); err != nil {
		return nil, err
	}
	engine := builder.Record(a.engine, func(ctx context.Context, built builder.Outcome) {
		metrics.ObserveBuild(built)
		logBuild(ctx, logger, built)
		if err := service.KeepLog(logs, built); err != nil {
			logger.Warn("the log of a failed build cannot be kept", "key", built.Recipe.Key(), "error", err)
		}
	})
	limit := builder.NewLimit(builder.Keep(engine, a.store, cache.ErrNotFound), builder.LimitConfig{
		Slots: o.maxBuilds, Queue: cmp.Or(o.queue, -1), // 0 in the config is the default, but no place on the command line
	})
	a.dedup = builder.NewDedup(limit, builder.DedupConfig{})
	a.service = service.New(service.Config{
		Resolver: a.resolver, Builder: a.dedup, Store: a.store, Settings: a.engine.Settings(), Logs: logs,
		Pin: func(key string) { a.store.Pin(key) }, Platforms: platforms, URL: base, Trusted: trusted,
		Metrics: metrics, Logger: logger, MaxWait: o.maxWait, LatestMaxAge: o.latestMaxAge,
	})
	metrics.Gauge("k6x_builds_running", "Builds under way.", func() float64 { return float64(limit.Stats().Running) })
	metrics.Gauge("k6x_queue_length", "Builds that wait for their turn.", func() float64 { return float64(limit.Stats().Waiting) })
	metrics.Gauge("k6x_store_bytes", "Bytes of stored binaries and records.", func() float64 { return float64(a.store.Stats().Bytes) })
	metrics.Gauge("k6x_store_artifacts", "Stored binaries.", func() float64 { return float64(a.store.Stats().Artifacts) })
	metrics.Counter("k6x_store_evictions_total", "Binaries removed to make room.", func() float64 { return float64(a.store.Stats().Evictions) })
	metrics.Gauge("k6x_registries_stale", "Registries that are out of reach.", func() float64 {
		return float64(len(slices.DeleteFunc(a.resolver.Sources(), func(s resolver.SourceStatus) bool { return !s.Stale })))
	})
	return a, nil
}

func logBuild(ctx context.Context, logger *slog.Logger, built builder.Outcome) {
	attrs := []any{"path", built.Recipe.Path(), "key", built.Recipe.Key(), "duration", built.Duration, "rebuild", built.Rebuild,
		"client", builder.Client(ctx)}
	if built.Err != nil {
		logger.Warn("build failed", append(attrs, "kind", k6x.KindOf(built.Err).String(), "error", built.Err, "cause", errors.Unwrap(built.Err))...)
		return
	}
	logger.Info("built", attrs...)
}

// start runs what goes on beside the requests until ctx ends.
func (a *app) start(ctx context.Context) {
	a.work.Go(func() { a.resolver.Run(ctx) })
	a.work.Go(func() { a.service.Preload(ctx, a.preload) })
	a.work.Go(func() { a.maintain(ctx) })
}

// buildsEnd is how long canceled builds may take to end.
const buildsEnd = 10 * time.Second

// close ends builds and releases the directories.
func (a *app) close() error {
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
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}

func baseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, &usageError{fmt.Errorf("--url %q is not a base URL such as https://builds.example.com", s)}
	}
	return u, nil
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			addr, addrErr := netip.ParseAddr(s)
			if addrErr != nil {
				return nil, &usageError{fmt.Errorf("--trusted-proxies: %w", err)}
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		all = append(all, p)
	}
	return all, nil
}

// choosePlatforms reads the platforms to build for, each of which the go command has to know.
func choosePlatforms(ctx context.Context, tool *gotool.Tool, names []string) ([]k6x.Platform, error) {
	known, err := tool.Platforms(ctx)
	if err != nil {
		return nil, err
	}
	var list []k6x.Platform
	for _, name := range names {
		p, err := k6x.ParsePlatform(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(known, p) {
			return nil, k6x.UnknownPlatform(name).WithHint("See go tool dist list for what %s can build for.", tool.Version)
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, &usageError{errors.New("--platforms is empty")}
	}
	return list, nil
}

func platformNames(list []k6x.Platform) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.String()
	}
	return names
}

// byteSize is a flag for a number of bytes, as 20GiB, 500MB or 1048576.
type byteSize int64

func (b *byteSize) String() string {
	if *b == 0 {
		return "0"
	}
	return humanize.IBytes(uint64(*b))
}

func (b *byteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a number of bytes such as 20GiB", s)
	}
	*b = byteSize(n)
	return nil
}

func (b *byteSize) Type() string { return "bytes" }

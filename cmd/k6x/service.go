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
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"k6x"
	"k6x/cache"
	"k6x/gotool"
	"k6x/resolver"
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

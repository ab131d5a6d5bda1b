package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/buildcache"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/egress"
	"k6x/resolver"
	"k6x/service"
)

// ToolsConfig says with what the go command runs here.
type ToolsConfig struct {
	Env      []string // KEY=VALUE for the go command
	Direct   []string // patterns of modules that are fetched from their own hosts
	Sandbox  Sandbox
	Personal bool // for builds of the user's own: with the user's configuration of the go command, git and ssh
	Logger   *slog.Logger
}

// Tools are the go command of this machine, confined in its network and its files, and what builds with it. A service,
// a launcher and a build with replacements are made of them alike.
type Tools struct {
	Tool     *gotool.Tool
	Cage     *cage.Cage
	Personal []string    // files of the user that fetching may read
	Shared   *BuildCache // of the engine; nil: it shares none

	logger *slog.Logger
	opened closers
}

// closers close what was opened.
type closers []func() error

// close calls them, the last first.
func (c closers) close() error {
	var errs []error
	for _, f := range slices.Backward(c) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// OpenTools finds the go command.
func OpenTools(ctx context.Context, cfg ToolsConfig) (*Tools, error) {
	t := &Tools{logger: cfg.Logger}
	env := cfg.Env
	var own gotool.Own
	if cfg.Personal {
		own = gotool.ReadOwn()
		t.Personal = own.Files
		env = append(own.Env, cfg.Env...)
	}
	for _, kv := range cfg.Env {
		if !strings.Contains(kv, "=") {
			return nil, cli.Usage(k6x.Errorf(k6x.Invalid, "%q, for the environment of the go command, is not KEY=VALUE", kv))
		}
	}
	var err error
	if t.Tool, err = gotool.Find(ctx, env, cfg.Direct, own.Protocols...); err != nil {
		return nil, err
	}
	t.Tool.Personal = cfg.Personal
	if t.Cage, err = cfg.Sandbox.Cage(); err != nil {
		return nil, err
	}
	if t.Tool.Egress, err = egress.Start(t.Tool.Fetch, cfg.Logger); err != nil {
		return nil, err
	}
	t.OnClose(t.Tool.Egress.Close)
	for _, host := range own.Hosts { // the user has named it
		t.Tool.Egress.Allow(host)
	}
	return t, nil
}

// Resolving returns the configuration of a resolver for which an engine fetches modules.
func (t *Tools) Resolving(engine interface {
	Env() []string
	RunFetching(cmd *exec.Cmd, dir string) error
}) resolver.Config {
	return resolver.Config{Toolchain: t.Tool.Version, Go: t.Tool.Path, Env: engine.Env(), Run: engine.RunFetching, Egress: t.Tool.Egress, Logger: t.logger}
}

// OnClose has [Tools.Close] call f, before what was opened earlier is closed.
func (t *Tools) OnClose(f func() error) { t.opened = append(t.opened, f) }

// Close releases all that was opened, the last first.
func (t *Tools) Close() error { return t.opened.close() }

// OpenNative opens the engine that runs the go command. Of cfg are needed what the tools do not say, and CacheDir. When all is
// closed, what was compiled may be sent to the shared build cache for sendTime; without a URL or a Remote none is shared.
func (t *Tools) OpenNative(ctx context.Context, cfg native.Config, shared BuildCacheConfig, sendTime time.Duration) (*native.Engine, error) {
	cfg.Tool, cfg.Cage, cfg.Personal, cfg.Dir, cfg.Logger = t.Tool, t.Cage, t.Personal, GoDir(shared.CacheDir), t.logger
	if shared.URL != "" || shared.Remote != nil {
		shared.Logger = t.logger
		var err error
		if t.Shared, err = OpenBuildCache(ctx, shared); err != nil {
			return nil, cli.WrongUsage(fmt.Errorf("--build-cache: %w", err))
		}
		t.OnClose(func() error { return t.Shared.Close(sendTime) })
		cfg.BuildCache = t.Shared
	}
	engine, err := native.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t.OnClose(engine.Close)
	return engine, nil
}

// OpenAlone opens an engine for jobs that are to be built without what other machines have compiled: in the directories of cfg, cacheDir and the engine beside it, but with a build
// cache of Go that no shared one, and no other build, has written to. What builds with it leaves all other jobs to next.
func (t *Tools) OpenAlone(ctx context.Context, cfg native.Config, cacheDir string, beside *native.Engine, next builder.Engine) (*native.Engine, builder.Engine, error) {
	cfg.Cache, cfg.Beside = "gocache-alone", beside
	alone, err := t.OpenNative(ctx, cfg, BuildCacheConfig{CacheDir: cacheDir}, 0)
	return alone, builder.EngineFunc(func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
		if job.Alone {
			return alone.Build(ctx, job, report, w)
		}
		return next.Build(ctx, job, report, w)
	}), err
}

// BuildCacheConfig says which build cache is shared, and with what right.
type BuildCacheConfig struct {
	URL      string           // as that of buildcache.OpenStore
	Remote   buildcache.Store // instead of what the URL names
	ReadOnly bool
	Fill     bool   // it gets what was compiled here before, too
	All      bool   // closing it is an error unless it has got all
	CacheDir string // of the engine that uses it
	Logger   *slog.Logger
}

// BuildCache is Go's build cache as this machine shares it with others.
type BuildCache struct {
	cache  *buildcache.Cache
	remote buildcache.Store
	all    bool
}

var _ native.BuildCache = (*BuildCache)(nil)

// GoDir is where engines below a cache directory keep modules and Go's build cache.
func GoDir(cacheDir string) string { return filepath.Join(cacheDir, "go") }

// GoCache is where Go's build cache is below a cache directory.
func GoCache(cacheDir string) string { return filepath.Join(GoDir(cacheDir), "gocache") }

// OpenBuildCache opens a shared build cache; nothing is asked of it yet.
func OpenBuildCache(ctx context.Context, cfg BuildCacheConfig) (*BuildCache, error) {
	remote := cfg.Remote
	if remote == nil {
		var err error
		if remote, err = buildcache.OpenStore(ctx, cfg.URL); err != nil {
			return nil, err
		}
	}
	cache, err := buildcache.New(buildcache.Config{Dir: GoCache(cfg.CacheDir), Remote: remote, ReadOnly: cfg.ReadOnly, Fill: cfg.Fill, Logger: cfg.Logger})
	if err != nil {
		_ = remote.Close()
		return nil, err
	}
	return &BuildCache{cache, remote, cfg.All}, nil
}

// Begin begins a build.
func (b *BuildCache) Begin(recipe k6x.Recipe, share bool) (native.CacheSession, error) {
	list := recipe.List().String()
	return b.cache.Start(buildcache.Build{Scope: scopeOf(recipe), Label: list[:min(len(list), buildcache.MaxLabel)], Private: !share})
}

var noScope = regexp.MustCompile(`[^a-z0-9.-]`)

// scopeOf names what builds like this one can have in common.
func scopeOf(recipe k6x.Recipe) string {
	name := strings.Join([]string{recipe.Toolchain, recipe.Platform.OS, recipe.Platform.Arch}, "-")
	scope := noScope.ReplaceAllString(strings.ToLower(name), ".")
	const most = 60
	if scope == name && len(recipe.Env) == 0 && len(scope) <= most {
		return scope
	}
	sum := sha256.Sum256([]byte(strings.Join(append([]string{name}, recipe.Env...), "\n")))
	return scope[:min(len(scope), 40)] + "-" + hex.EncodeToString(sum[:6])
}

// Close sends what was compiled and not sent yet, at most for limit. No build may be running.
func (b *BuildCache) Close(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	b.cache.Close(ctx)
	err := b.remote.Close()
	if s := b.cache.Stats(); b.all && (s.Dropped > 0 || s.WriteFailures > 0) {
		err = errors.Join(err, k6x.Errorf(k6x.Unavailable, "the shared build cache could not be written, or not in %s: it lacks some of what was compiled", limit).
			WithHint("-v tells why. Try again: what it has is not sent anew."))
	}
	return err
}

// register makes the counts of the cache visible.
func (b *BuildCache) register(metrics *service.Metrics) {
	count := func(name, help string, of func(buildcache.Stats) int64) {
		metrics.Counter(name, help, func() float64 { return float64(of(b.cache.Stats())) })
	}
	count("k6x_build_cache_near_hits_total", "Compiled packages that were found here.", func(s buildcache.Stats) int64 { return s.LocalHits })
	count("k6x_build_cache_far_hits_total", "Compiled packages that came from the shared build cache.", func(s buildcache.Stats) int64 { return s.RemoteHits })
	count("k6x_build_cache_misses_total", "Compiled packages that neither had.", func(s buildcache.Stats) int64 { return s.Misses })
	count("k6x_build_cache_fetched_bytes_total", "Bytes that came from the shared build cache.", func(s buildcache.Stats) int64 { return s.BytesFetched })
	count("k6x_build_cache_sent_bytes_total", "Bytes that were sent to the shared build cache.", func(s buildcache.Stats) int64 { return s.BytesSent })
	count("k6x_build_cache_sent_total", "Compiled packages that were sent to the shared build cache.", func(s buildcache.Stats) int64 { return s.OutputsSent })
	count("k6x_build_cache_dropped_total", "Compiled packages that were not sent to the shared build cache.", func(s buildcache.Stats) int64 { return s.Dropped })
	count("k6x_build_cache_read_failures_total", "Exchanges with the shared build cache that brought nothing or something wrong.",
		func(s buildcache.Stats) int64 { return s.ReadFailures })
	count("k6x_build_cache_write_failures_total", "Exchanges with the shared build cache in which nothing could be sent.",
		func(s buildcache.Stats) int64 { return s.WriteFailures })
	metrics.Gauge("k6x_build_cache_paused", "1 while the shared build cache is left alone after failures.", func() float64 {
		if s := b.cache.Stats(); s.ReadsPaused || s.WritesPaused {
			return 1
		}
		return 0
	})
}

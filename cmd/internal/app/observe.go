package app

import (
	"cmp"
	"context"
	"log/slog"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"k6x/builder"
	"k6x/cache"
	"k6x/cmd/internal/cli"
	"k6x/history"
	"k6x/internal/disk"
	"k6x/resolver"
	"k6x/service"
)

// announce says in the first line of the log what this service is.
func (a *App) announce() {
	o, report, level := a.options, a.tools.Cage.Report(), slog.LevelInfo
	if o.Lifetime == builder.OneShot {
		level = slog.LevelDebug
	}
	var registries []string
	for _, location := range o.Registries {
		registries = append(registries, withoutSecrets(location))
	}
	if registries == nil {
		registries = []string{resolver.DefaultRegistry}
	}
	store := cmp.Or(withoutSecrets(o.Store), "directory")
	a.logger.Log(context.Background(), level, "starting", "version", cli.Version(), "store", store, "registries", registries, "builds", o.MaxBuilds,
		"sandbox", report.State, "lacks", report.Lacks, "toolchain", a.tools.Tool.Version, "cache_dir", o.CacheDir)
}

// withoutSecrets returns a location without credentials or options; a path as it is.
func withoutSecrets(location string) string {
	if !strings.Contains(location, "://") {
		return location
	}
	name, _, _ := strings.Cut(location, "?")
	if u, err := url.Parse(name); err == nil {
		return u.Redacted()
	}
	return ""
}

// goCaches is what Go's caches took when that was last looked at, in bytes.
type goCaches struct{ builds, modules atomic.Int64 }

// observe makes visible what is known besides requests and builds.
func (a *App) observe(metrics *service.Metrics) {
	if a.tools.Shared != nil {
		a.tools.Shared.register(metrics)
	}
	metrics.Info("k6x_sandbox", "1 for how far builds are confined: full, partial or none.", "state", a.tools.Cage.Report().State)
	metrics.Info("k6x_build_info", "1 for what this program is, and the Go that it builds with.",
		"version", cli.Version(), "goversion", runtime.Version(), "toolchain", a.tools.Tool.Version)
	count := func(name, help string, value func() int, labels ...string) {
		metrics.Gauge(name, help, func() float64 { return float64(value()) }, labels...)
	}
	bytes := func(name, help string, value func() int64, labels ...string) {
		metrics.Gauge(name, help, func() float64 { return float64(value()) }, labels...)
	}
	count("k6x_builds_running", "Builds under way.", func() int { return a.limit.Stats().Running })
	count("k6x_builds_limit", "Builds that may be under way at once.", func() int { return a.options.slots() })
	count("k6x_slots_wanted", "Builds under way and those that wait: as many slots would keep none waiting.", func() int {
		s := a.limit.Stats()
		return s.Running + s.Waiting + s.Behind
	})
	count("k6x_queue_length", "Builds that wait for their turn, those that nobody waits for left out.", func() int { return a.limit.Stats().Waiting })
	count("k6x_queue_limit", "Builds that may wait.", func() int { return a.options.Queue })
	count("k6x_background_queue_length", "Builds that nobody waits for and that wait for their turn.", func() int { return a.limit.Stats().Behind })
	metrics.Gauge("k6x_queue_oldest_seconds", "How long the build in the queue that came first has waited; 0 if none waits.",
		func() float64 { return a.limit.Stats().Oldest.Seconds() })
	bytes("k6x_store_bytes", "Bytes of stored binaries and records, on this machine.", func() int64 { return a.store.Stats().Bytes })
	bytes("k6x_store_limit_bytes", "Bytes that these may take; 0 is no limit.", func() int64 { return a.store.Stats().Limit })
	bytes("k6x_store_unlinked_bytes", "Bytes of binaries that were removed while clients download them.", func() int64 { return a.store.Stats().Unlinked })
	count("k6x_store_artifacts", "Stored binaries.", func() int { return a.store.Stats().Artifacts })
	metrics.Counter("k6x_store_evictions_total", "Binaries removed to make room.", func() float64 { return float64(a.store.Stats().Evictions) })
	if a.store.bucket != nil {
		bytes("k6x_bucket_bytes", "Bytes of stored binaries and records in the bucket, when it was last listed.", func() int64 { return a.store.bucket.Stats().Bytes })
		bytes("k6x_bucket_limit_bytes", "Bytes that these may take; 0 is no limit.", func() int64 { return a.store.bucket.Stats().Limit })
	}
	for cache, size := range map[string]*atomic.Int64{"build": &a.sizes.builds, "module": &a.sizes.modules} {
		bytes("k6x_go_cache_bytes", "Bytes of Go's caches when that was last looked at.", size.Load, "cache", cache)
		bytes("k6x_go_cache_limit_bytes", "Bytes that they may take; 0 is no limit.", func() int64 { return a.options.GoCacheSize }, "cache", cache)
	}
	for _, d := range a.directories() {
		if _, _, err := disk.Free(d.path); err != nil {
			continue
		}
		bytes("k6x_disk_free_bytes", "Bytes that are free on the disk of a directory.", func() int64 { free, _, _ := disk.Free(d.path); return free }, "directory", d.name)
		bytes("k6x_disk_size_bytes", "Bytes that this disk has.", func() int64 { _, size, _ := disk.Free(d.path); return size }, "directory", d.name)
	}
	for _, p := range a.health.order {
		count("k6x_up", "1 for each part of what this service needs (store, disk, registries, go) that works, else 0.", func() int {
			if a.health.state(p).Works {
				return 1
			}
			return 0
		}, "part", p.state.Name)
	}
	count("k6x_registries_stale", "Registries that are out of reach.", func() int {
		return len(slices.DeleteFunc(a.resolver.Sources(), func(s resolver.SourceStatus) bool { return !s.Stale }))
	})
}

// state is what /status tells of how full things are.
func (a *App) state() service.State {
	queue := a.limit.Stats()
	s := service.State{Queue: service.Queue{
		Waiting: queue.Waiting, Limit: a.options.Queue, Background: queue.Behind, Oldest: history.Seconds(queue.Oldest),
	}}
	add := func(name string, of cache.Stats) {
		s.Stores = append(s.Stores, service.CacheStatus{
			Name: name, Entries: of.Artifacts, Bytes: of.Bytes, Limit: of.Limit, Evictions: of.Evictions, Full: of.Full,
		})
	}
	add("store", a.store.Stats())
	if a.store.bucket != nil {
		add("bucket", a.store.bucket.Stats())
	}
	module, build := service.CacheStatus{Name: "module", Bytes: a.sizes.modules.Load()}, service.CacheStatus{Name: "build", Bytes: a.sizes.builds.Load()}
	module.Limit, build.Limit = a.options.GoCacheSize, a.options.GoCacheSize
	s.Caches = []service.CacheStatus{build, module}
	if a.tools.Shared != nil { // it sees what go build asks for
		stats := a.tools.Shared.cache.Stats()
		far := service.CacheStatus{Name: "shared"}
		s.Caches[0].Count(stats.LocalHits, stats.RemoteHits+stats.Misses)
		far.Count(stats.RemoteHits, stats.Misses)
		s.Caches = append(s.Caches, far)
	}
	for _, d := range a.directories() {
		if free, size, err := disk.Free(d.path); err == nil {
			s.Disks = append(s.Disks, service.Disk{Name: d.name, Free: free, Size: size})
		}
	}
	return s
}

// version is what /version tells of this service.
func (a *App) version() service.Version {
	report := a.tools.Cage.Report()
	return service.Version{
		K6x: cli.Version(), Go: []string{a.tools.Tool.Version}, Engines: []string{"native"},
		Sandbox: service.Sandbox(report),
		Limits: service.Limits{
			MaxBuilds: a.options.slots(), Queue: a.options.Queue, BuildTimeout: int64(a.options.BuildTimeout.Seconds()),
			PerBuild: a.options.Sandbox.Limits(),
		},
	}
}

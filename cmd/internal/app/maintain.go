package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize"

	"k6x/buildcache"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/internal/disk"
)

// How often the store is read through for damage, and Go's caches are bounded.
const (
	scrubFirst  = 10 * time.Minute
	scrubEvery  = 24 * time.Hour
	trimEvery   = 15 * time.Minute
	uploadEvery = time.Minute
)

// maintain keeps the directories sound and bounded until ctx ends.
func (a *App) maintain(ctx context.Context) {
	trim, scrub, upload := time.NewTicker(trimEvery), time.NewTimer(scrubFirst), time.NewTicker(uploadEvery)
	defer trim.Stop()
	defer upload.Stop()
	defer scrub.Stop()
	a.Trim(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-trim.C:
			a.Trim(ctx)
			a.try(ctx, a.store.trim, "the store was not trimmed", "store", withoutSecrets(a.options.Store))
			a.try(ctx, a.logs.Maintain, "the logs in the bucket were not bounded")
			for _, j := range a.journals {
				a.try(ctx, j.Maintain, "the history was not compacted")
			}
		case <-upload.C:
			a.try(ctx, a.store.upload, "binaries still wait for the bucket of the store", "store", withoutSecrets(a.options.Store))
		case <-scrub.C:
			if a.store.scrub != nil {
				report, err := a.store.scrub(ctx)
				a.logger.Info("store checked", "report", report, "error", err)
			}
			scrub.Reset(scrubEvery)
		}
	}
}

// try does what the store may want; nil: it does not. An error is logged.
func (a *App) try(ctx context.Context, do func(context.Context) error, failed string, attrs ...any) {
	if do == nil {
		return
	}
	if err := do(ctx); err != nil && ctx.Err() == nil {
		a.logger.Warn(failed, append(attrs, "error", err)...)
	}
}

// forWorkers is the part of the limit of Go's caches that each cache has which is there because of workers: a fourth of it.
const forWorkers = 4

// Trim bounds Go's caches, as an app that was started does from time to time.
func (a *App) Trim(ctx context.Context) {
	builds, modules := TrimGoCaches(ctx, a.engine, a.options.GoCacheSize, a.logger)
	a.sizes.builds.Store(builds)
	a.sizes.modules.Store(modules)
	if a.alone != nil {
		trimBuilds(ctx, a.alone, a.options.GoCacheSize/forWorkers, a.logger)
	}
	a.trimOffered(ctx, a.options.GoCacheSize/forWorkers)
}

// trimOffered bounds what is offered to workers, if there is anything. It reports whether anything was removed.
func (a *App) trimOffered(ctx context.Context, limit int64) (removed bool) {
	if !a.offers {
		return false
	}
	a.try(ctx, func(ctx context.Context) error {
		trimmed, err := buildcache.Trim(ctx, a.tools.Shared.remote, limit)
		removed = len(trimmed.Discarded) > 0
		return err
	}, "the build cache for workers was not trimmed")
	return removed
}

// TrimGoCaches bounds Go's build cache and module cache to limit bytes each; 0 is no limit. It returns what they take then. No
// build runs meanwhile. What goes wrong is logged.
func TrimGoCaches(ctx context.Context, engine *native.Engine, limit int64, logger *slog.Logger) (builds, modules int64) {
	_, moduleDir := engine.Caches()
	builds, _ = trimBuilds(ctx, engine, limit, logger)
	// A module is worth nothing in part, so the module cache goes as a whole.
	modules, _ = trim(ctx, engine, moduleDir, limit, logger, func() (int64, error) {
		size, err := cache.Size(moduleDir)
		return size, errors.Join(err, cache.RemoveAll(moduleDir))
	})
	return builds, modules
}

// trimBuilds does so for Go's build cache. It returns how many bytes it freed, too.
func trimBuilds(ctx context.Context, engine *native.Engine, limit int64, logger *slog.Logger) (size, freed int64) {
	dir, _ := engine.Caches()
	return trim(ctx, engine, dir, limit, logger, func() (int64, error) { return cache.Trim(ctx, dir, limit) })
}

func trim(ctx context.Context, engine *native.Engine, dir string, limit int64, logger *slog.Logger, run func() (int64, error)) (size, freed int64) {
	size, err := cache.Size(dir)
	if err == nil && limit > 0 && size > limit {
		// Builds that come while this waits for one that runs wait too, so not for long.
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err = engine.Exclusive(wait, func() (err error) {
			freed, err = run()
			logger.Info("cache trimmed", "directory", dir, "freed", humanize.IBytes(uint64(freed)))
			return err
		})
	}
	if err != nil && ctx.Err() == nil {
		logger.Warn("a cache was not trimmed", "directory", dir, "error", err)
	}
	return size - freed, freed
}

// makeRoom removes binaries from the disk of the cache directory, those first that were used longest ago, and of the caches for builds if little
// is free then, as a build failed for want of room. It reports whether anything was removed.
func (a *App) makeRoom(ctx context.Context, full error) (removed bool) {
	if errors.Is(full, cache.ErrLimit) || errors.Is(full, blob.ErrFull) { // a disk is not to blame
		return false
	}
	a.making.Lock()
	defer a.making.Unlock()
	free, size, err := disk.Free(a.options.CacheDir)
	_, ofStore, _ := disk.Free(a.store.path)
	few := min(4*scarce, size/2)
	for enough := max(few, free+scarce); err == nil && size == ofStore && (!removed || free < enough) && a.store.MakeRoom(ctx, full); {
		before := free
		removed = true
		if free, _, err = disk.Free(a.options.CacheDir); free <= before { // it is being sent
			break
		}
	}
	if free < few && a.trimCaches(ctx) {
		removed = true
	}
	return removed
}

// trimCaches removes half of Go's build caches, and all that is offered to workers. It reports whether anything was removed.
func (a *App) trimCaches(ctx context.Context) (removed bool) {
	for _, engine := range []*native.Engine{a.engine, a.alone} {
		if engine == nil {
			continue
		}
		builds, _ := engine.Caches()
		if bytes, err := cache.Size(builds); err == nil {
			_, freed := trimBuilds(ctx, engine, max(1, bytes/2), a.logger)
			removed = removed || freed > 0
		}
	}
	return a.trimOffered(ctx, 1) || removed // which goes by platforms as a whole
}

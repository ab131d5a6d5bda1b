package app

import (
	"context"
	"errors"
	"time"

	"github.com/dustin/go-humanize"

	"k6x/cache"
)

// How often the store is read through for damage, and Go's caches are bounded.
const (
	scrubFirst = 10 * time.Minute
	scrubEvery = 24 * time.Hour
	trimEvery  = 15 * time.Minute
)

// maintain keeps the directories sound and bounded until ctx ends.
func (a *App) maintain(ctx context.Context) {
	trim, scrub := time.NewTicker(trimEvery), time.NewTimer(scrubFirst)
	defer trim.Stop()
	defer scrub.Stop()
	a.trimGoCaches(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-trim.C:
			a.trimGoCaches(ctx)
			a.trimStore(ctx)
		case <-scrub.C:
			a.scrub(ctx)
			scrub.Reset(scrubEvery)
		}
	}
}

// scrub reads through the store, if it is of a kind that wants it.
func (a *App) scrub(ctx context.Context) {
	if a.store.scrub == nil {
		return
	}
	report, err := a.store.scrub(ctx)
	a.logger.Info("store checked", "report", report, "error", err)
}

// trimStore bounds a store that does not do so itself.
func (a *App) trimStore(ctx context.Context) {
	if a.store.trim == nil {
		return
	}
	if err := a.store.trim(ctx); err != nil && ctx.Err() == nil {
		a.logger.Warn("the store was not trimmed", "store", storeName(a.options.Store), "error", err)
	}
}

// trimGoCaches bounds Go's build cache and module cache. No build runs meanwhile.
func (a *App) trimGoCaches(ctx context.Context) {
	limit := a.options.GoCacheSize
	if limit == 0 {
		return
	}
	builds, modules := a.engine.Caches()
	a.bound(ctx, builds, limit, func() (int64, error) { return cache.Trim(ctx, builds, limit) })
	// A module is worth nothing in part, so the module cache goes as a whole.
	a.bound(ctx, modules, limit, func() (int64, error) {
		size, err := cache.Size(modules)
		return size, errors.Join(err, cache.RemoveAll(modules))
	})
}

// bound runs trim, which returns the bytes that it freed, if directory is larger than limit.
func (a *App) bound(ctx context.Context, directory string, limit int64, trim func() (int64, error)) {
	size, err := cache.Size(directory)
	if err == nil && size > limit {
		// Builds that come while this waits for one that runs wait too, so not for long.
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err = a.engine.Exclusive(wait, func() error {
			freed, err := trim()
			a.logger.Info("cache trimmed", "directory", directory, "freed", humanize.IBytes(uint64(freed)))
			return err
		})
	}
	if err != nil && ctx.Err() == nil {
		a.logger.Warn("a cache was not trimmed", "directory", directory, "error", err)
	}
}

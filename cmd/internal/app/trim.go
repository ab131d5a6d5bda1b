package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize"

	"k6x/builder/native"
	"k6x/cache"
)

// TrimGoCaches bounds Go's build cache and module cache to limit bytes each; 0 is no limit. No
// build runs meanwhile. What goes wrong is logged.
func TrimGoCaches(ctx context.Context, engine *native.Engine, limit int64, logger *slog.Logger) {
	if limit == 0 {
		return
	}
	builds, modules := engine.Caches()
	bound := func(directory string, trim func() (int64, error)) {
		size, err := cache.Size(directory)
		if err == nil && size > limit {
			// Builds that come while this waits for one that runs wait too, so not for long.
			wait, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			err = engine.Exclusive(wait, func() error {
				freed, err := trim()
				logger.Info("cache trimmed", "directory", directory, "freed", humanize.IBytes(uint64(freed)))
				return err
			})
		}
		if err != nil && ctx.Err() == nil {
			logger.Warn("a cache was not trimmed", "directory", directory, "error", err)
		}
	}
	bound(builds, func() (int64, error) { return cache.Trim(ctx, builds, limit) })
	// A module is worth nothing in part, so the module cache goes as a whole.
	bound(modules, func() (int64, error) {
		size, err := cache.Size(modules)
		return size, errors.Join(err, cache.RemoveAll(modules))
	})
}

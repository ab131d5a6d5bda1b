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

// TrimGoCaches bounds Go's build cache and module cache to limit bytes each; 0 is no limit. It returns what they take then. No
// build runs meanwhile. What goes wrong is logged.
func TrimGoCaches(ctx context.Context, engine *native.Engine, limit int64, logger *slog.Logger) (builds, modules int64) {
	bound := func(directory string, trim func() (freed int64, err error)) int64 {
		size, err := cache.Size(directory)
		if err == nil && limit > 0 && size > limit {
			// Builds that come while this waits for one that runs wait too, so not for long.
			wait, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			err = engine.Exclusive(wait, func() error {
				freed, err := trim()
				size -= freed
				logger.Info("cache trimmed", "directory", directory, "freed", humanize.IBytes(uint64(freed)))
				return err
			})
		}
		if err != nil && ctx.Err() == nil {
			logger.Warn("a cache was not trimmed", "directory", directory, "error", err)
		}
		return size
	}
	buildDir, moduleDir := engine.Caches()
	builds = bound(buildDir, func() (int64, error) { return cache.Trim(ctx, buildDir, limit) })
	// A module is worth nothing in part, so the module cache goes as a whole.
	modules = bound(moduleDir, func() (int64, error) {
		size, err := cache.Size(moduleDir)
		return size, errors.Join(err, cache.RemoveAll(moduleDir))
	})
	return builds, modules
}

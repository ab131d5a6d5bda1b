package app

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"k6x/buildcache"
	"k6x/builder"
)

// buildCache says which build cache this service shares. If none is named, a service with workers that is alone with its store makes one for them
// of all that it compiles, in a directory.
func (a *App) buildCache() (BuildCacheConfig, error) {
	o := a.options
	cfg := BuildCacheConfig{URL: o.BuildCache, ReadOnly: o.BuildCacheReading, CacheDir: o.CacheDir}
	if o.BuildCache != "" || !o.Workers.On || o.Lifetime != builder.Resident || o.slots() == 0 || a.store.bucket != nil {
		return cfg, nil
	}
	dir, err := filepath.Abs(filepath.Join(o.CacheDir, "offered"))
	if err != nil {
		return cfg, err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// What is known to have been compiled is linked without the go command, and so would never come to be there.
		known, _ := filepath.Glob(filepath.Join(GoDir(o.CacheDir), "kits", "*.json")) // an error is one of the pattern
		for _, file := range known {
			if err := os.Remove(file); err != nil {
				return cfg, err
			}
		}
	}
	a.offers = true
	path := filepath.ToSlash(dir)
	if path[0] != '/' { // a drive
		path = "/" + path
	}
	cfg.URL, cfg.ReadOnly, cfg.Fill = (&url.URL{Scheme: "file", Path: path}).String(), false, true
	return cfg, nil
}

// compilesFirst reports whether this service is to do a job, as nothing of its platform is offered to workers, for each of these once: what this
// service builds all of them can read. A toolchain that is another than that of this service may not be had here.
func (a *App) compilesFirst(job builder.Job) bool {
	if !a.offers || job.Alone || job.Recipe.Toolchain != a.engine.Settings().Toolchain {
		return false
	}
	scope := scopeOf(job.Recipe)
	if _, asked := a.asked.LoadOrStore(scope, true); asked {
		return false
	}
	return !buildcache.Has(context.Background(), a.tools.Shared.remote, scope)
}

// offer returns what workers are offered of the build cache.
func (a *App) offer() *buildcache.Offer {
	if a.tools.Shared == nil {
		return buildcache.NewOffer(nil)
	}
	return buildcache.NewOffer(a.tools.Shared.remote)
}

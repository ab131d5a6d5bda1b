package app

import (
	"context"
	"errors"

	"k6x"
	"k6x/builder"
	"k6x/cache"
)

// Build resolves a list with one major version of k6, builds its binary if it is not kept
// yet, and opens it. Errors are those of the resolver, the builder and the store.
func (a *App) Build(ctx context.Context, platform k6x.Platform, list k6x.List, major int) (k6x.Artifact, *cache.Entry, error) {
	if err := a.resolver.Permit(list); err != nil {
		return k6x.Artifact{}, nil, err
	}
	resolution, err := a.resolver.ResolveMajor(ctx, list, major)
	if err != nil {
		return k6x.Artifact{}, nil, err
	}
	recipe := k6x.NewRecipe(platform, resolution.Modules, resolution.Cgo, a.engine.Settings())
	artifact, err := a.dedup.Build(ctx, builder.Job{Recipe: recipe})
	if err != nil {
		return k6x.Artifact{}, nil, err
	}
	entry, err := a.store.Open(ctx, recipe.Key())
	if errors.Is(err, cache.ErrEvicted) || errors.Is(err, cache.ErrNotFound) {
		err = k6x.Errorf(k6x.NoSpace, "the store is too small to keep this binary until it is copied").WithCause(err)
	}
	// What was made for other names may have the same modules: the names asked for are these.
	artifact.Recipe = recipe
	return artifact, entry, err
}

// Trim bounds Go's caches, as an app that was started does from time to time.
func (a *App) Trim(ctx context.Context) {
	builds, modules := TrimGoCaches(ctx, a.engine, a.options.GoCacheSize, a.logger)
	a.sizes.builds.Store(builds)
	a.sizes.modules.Store(modules)
}

package launcher

import (
	"context"
	"io"
	"os"

	"k6x"
	"k6x/builder"
	"k6x/event"
	"k6x/resolver"
)

// Workshop is a Builder that resolves and builds here, with any engine.
type Workshop struct {
	Engine   builder.Engine
	Settings k6x.Settings // of the engine
	Resolver *resolver.Resolver
	Report   event.Sink   // takes how far the builds of Fetch are; may be nil
	Release  func() error // called by Close

	Built bool // a build was begun
}

var _ Builder = (*Workshop)(nil)

// Resolve asks the resolver.
func (w *Workshop) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	recipe, err := w.recipe(ctx, platform, list)
	if err != nil {
		return nil, err
	}
	return recipe.List(), nil
}

// Fetch builds.
func (w *Workshop) Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error {
	_, err := w.Build(ctx, platform, pinned, w.Report, file)
	return err
}

// Build resolves list and writes its binary to out. Report takes how far it is; may be nil.
func (w *Workshop) Build(ctx context.Context, platform k6x.Platform, list k6x.List, report event.Sink, out io.Writer) (k6x.Recipe, error) {
	recipe, err := w.recipe(ctx, platform, list)
	if err == nil {
		w.Built = true
		_, err = w.Engine.Build(ctx, builder.Job{Recipe: recipe}, report, out)
	}
	return recipe, err
}

// recipe finds exact modules, within the rules for modules that may be used.
func (w *Workshop) recipe(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.Recipe, error) {
	if err := w.Resolver.Permit(list); err != nil {
		return k6x.Recipe{}, err
	}
	found, err := w.Resolver.Resolve(ctx, list)
	if err != nil {
		return k6x.Recipe{}, err
	}
	return k6x.NewRecipe(platform, found.Modules, found.Cgo, w.Settings), nil
}

// Close releases the workshop.
func (w *Workshop) Close() error { return w.Release() }

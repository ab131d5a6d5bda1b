package launcher

import (
	"context"
	"io"
	"os"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

// Local is a Source that resolves and builds here, with any engine.
type Local struct {
	Builder string // the name, as in --builder

	// Make is called by Open.
	Make func(ctx context.Context) (Workshop, error)

	Report event.Sink // takes how far the builds of Fetch are; may be nil

	shop Workshop
}

// Workshop is an engine that builds here, with its resolver.
type Workshop struct {
	Engine   builder.Engine
	Settings k6x.Settings // of the engine
	// Resolve finds exact modules, within the rules for modules that may be used.
	Resolve func(ctx context.Context, list k6x.List) (modules []k6x.Module, cgo bool, err error)
	// Close releases all of it; nil: there is nothing to release.
	Close func() error
}

var _ Source = (*Local)(nil)

// Name returns the name of the builder.
func (l *Local) Name() string { return l.Builder }

// Open makes the workshop.
func (l *Local) Open(ctx context.Context) (err error) {
	l.shop, err = l.Make(ctx)
	return err
}

// Resolve asks the resolver.
func (l *Local) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	recipe, err := l.recipe(ctx, platform, list)
	if err != nil {
		return nil, err
	}
	return recipe.List(), nil
}

// Fetch builds.
func (l *Local) Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error {
	_, err := l.Build(ctx, platform, pinned, l.Report, file)
	return err
}

// Build resolves list and writes its binary to w. Report takes how far it is; may be nil.
func (l *Local) Build(ctx context.Context, platform k6x.Platform, list k6x.List, report event.Sink, w io.Writer) (k6x.Recipe, error) {
	recipe, err := l.recipe(ctx, platform, list)
	if err == nil {
		_, err = l.shop.Engine.Build(ctx, builder.Job{Recipe: recipe}, report, w)
	}
	return recipe, err
}

func (l *Local) recipe(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.Recipe, error) {
	modules, cgo, err := l.shop.Resolve(ctx, list)
	if err != nil {
		return k6x.Recipe{}, err
	}
	return k6x.NewRecipe(platform, modules, cgo, l.shop.Settings), nil
}

// Close releases the workshop.
func (l *Local) Close() error {
	closes := l.shop.Close
	l.shop = Workshop{}
	if closes == nil {
		return nil
	}
	return closes()
}

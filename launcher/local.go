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

// Local is a Builder that resolves and builds here, with any engine.
type Local struct {
	Engine   builder.Engine
	Settings k6x.Settings // of the engine
	Resolver *resolver.Resolver
	Report   event.Sink   // takes the events of the builds of Fetch; may be nil
	Release  func() error // called by Close

	Warn func(warning string) // takes what there is to say against a binary; may be nil

	Built bool // a build was begun
}

var _ Builder = (*Local)(nil)

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

// Build resolves list and writes its binary to out. Report takes the events of that; may be nil.
func (l *Local) Build(ctx context.Context, platform k6x.Platform, list k6x.List, report event.Sink, out io.Writer) (k6x.Recipe, error) {
	recipe, err := l.recipe(ctx, platform, list)
	if err == nil {
		l.Built = true
		var made k6x.Build
		made, err = builder.Run(ctx, l.Engine, builder.Job{Recipe: recipe}, report, out)
		warn(l.Warn, made.Warnings)
	}
	return recipe, err
}

// recipe finds exact modules, within the rules for modules that may be used.
func (l *Local) recipe(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.Recipe, error) {
	if err := l.Resolver.Permit(list); err != nil {
		return k6x.Recipe{}, err
	}
	found, err := l.Resolver.Resolve(ctx, list)
	if err != nil {
		return k6x.Recipe{}, err
	}
	return k6x.NewRecipe(platform, found.Modules, found.Cgo, l.Settings), nil
}

// Close releases the rest.
func (l *Local) Close() error { return l.Release() }

package launcher

import (
	"context"
	"debug/buildinfo"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/client"
	"k6x/event"
	"k6x/resolver"
)

// Source is where binaries come from.
type Source struct {
	Name string // as in --builder

	// Open gets ready. An error says why this source cannot be used: something is not set up, not
	// installed or not running.
	Open func(ctx context.Context) (Builder, error)
}

// Builder gives binaries until it is closed.
type Builder interface {
	// Resolve returns the versions that list has now. Nothing is built.
	Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error)

	// Fetch writes the binary of a pinned list to file, which is empty.
	Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error

	Close() error
}

// Service is a Builder that asks a builder service. Whether that answers is for Resolve to say.
type Service struct {
	*client.Client

	// Permit returns an error unless a list may be asked for. Nil: all may.
	Permit func(ctx context.Context, list k6x.List) error

	Warn func(warning string) // takes what there is to say against a binary; may be nil

	Report event.Sink // takes an event of type Progress for each binary that was downloaded, whose Item is its URL; may be nil
}

var _ Builder = Service{}

// Resolve asks the service.
func (s Service) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	if s.Permit != nil {
		if err := s.Permit(ctx, list); err != nil {
			return nil, err
		}
	}
	return s.Client.Resolve(ctx, platform, list)
}

// Fetch downloads the binary, which the service builds if need be.
func (s Service) Fetch(ctx context.Context, platform k6x.Platform, pinned k6x.List, file *os.File) error {
	b, err := s.Client.Fetch(ctx, platform, pinned, file)
	warn(s.Warn, b.Warnings)
	if err == nil {
		s.Report.Send(event.Event{Path: pinned.Path(platform), Time: time.Now().UTC(), Type: event.Progress, Step: event.Fetching, Item: b.URL, Done: b.Size, Total: b.Size})
	}
	return err
}

func warn(to func(string), warnings []string) {
	for _, warning := range warnings {
		if to != nil {
			to(warning)
		}
	}
}

// Close does nothing.
func (Service) Close() error { return nil }

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

// inspect reads a binary, which is not run, and returns an error of kind k6x.Unavailable unless it is the k6 that was asked
// for: another file, another platform, another version of k6 is refused. The digest does not show that, as the source that is
// wrong has announced it.
func inspect(file *os.File, platform k6x.Platform, pinned k6x.List) error {
	wrong := func(format string, args ...any) error {
		return k6x.Errorf(k6x.Unavailable, "what came is not the k6 that was asked for: "+format, args...).
			WithHint("It was not kept, and not run.")
	}
	info, err := buildinfo.Read(file)
	if err != nil {
		return wrong("it is no Go program")
	}
	made := k6x.Platform{}
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS":
			made.OS = s.Value
		case "GOARCH":
			made.Arch = s.Value
		}
	}
	if made != platform {
		return wrong("it is for %s", made)
	}
	version, _ := pinned.Lookup(k6x.K6)
	want := version.Version()
	modules := append(slices.Clone(info.Deps), &info.Main)
	switch i := slices.IndexFunc(modules, func(m *debug.Module) bool { return isK6(m.Path) }); {
	case i < 0:
		return wrong("there is no k6 in it")
	case modules[i].Version != want:
		return wrong("it is k6 %s", modules[i].Version)
	}
	return nil
}

// isK6 reports whether a module is k6, of any major version.
func isK6(path string) bool {
	const k6 = "go.k6.io/k6"
	return path == k6 || strings.HasPrefix(path, k6+"/v")
}

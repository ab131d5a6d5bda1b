package native

import (
	"cmp"
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/event"
)

// Replacement is what a module is replaced by.
type Replacement = gobuild.Replacement

// Raised is a module of a build with replacements that is linked at a higher version than
// was asked for, as another one needs it.
type Raised struct {
	Module  k6x.Module // as it was asked for
	Version string     // that was linked
	By      string     // the words for the module that needs that
}

func (r Raised) String() string {
	name := r.Module.Path
	if len(r.Module.Names) > 0 {
		name = strings.Join(r.Module.Names, ", ")
	}
	return name + " is " + r.Version + " instead of " + r.Module.Version + ", as " + r.By + " needs it"
}

// ReplacedBuild says what a binary with replaced modules is.
type ReplacedBuild struct {
	k6x.Build               // without a lock: it cannot be made again. The modules that were replaced have the version and sum of what replaced them
	Replaced  []Replacement // sorted by path; those that the go.mod of another one names, too
	Raised    []Raised      // in the order of the recipe
}

// BuildReplaced builds a recipe with some modules replaced, and writes the binary to w. It may not
// be kept under the recipe's key, or for another client: what is in a directory may be
// different the next time.
//
// A module of the recipe that is replaced may have no version. The versions of the others are
// raised if what replaces a module needs that, which is reported. Each replacement has to be of a module
// that is in the binary.
//
// Errors are those of [Engine.Build], with the names of files in a replaced module as they are below its
// directory.
func (e *Engine) BuildReplaced(ctx context.Context, recipe k6x.Recipe, by []Replacement, report event.Sink, w io.Writer) (ReplacedBuild, error) {
	replaced, err := gobuild.NewReplacements(by)
	if err != nil {
		return ReplacedBuild{}, err
	}
	recipe = replaced.Versioned(recipe)
	ws, err := e.Open(ctx, builder.Job{Recipe: recipe}, report)
	if err != nil {
		return ReplacedBuild{}, err
	}
	defer ws.Close()
	ws.replaced = replaced
	if err := ws.Reset(); err != nil {
		return ReplacedBuild{}, err
	}
	e.shareCache(ctx, ws, false)
	ws.cache.Ahead()
	if err := e.compile(ctx, ws); err != nil {
		return ReplacedBuild{}, err
	}
	build, err := e.inspectReplaced(ws)
	if err != nil {
		return ReplacedBuild{}, err
	}
	build.Build, err = ws.Deliver(ctx, w, build.Build, "")
	return build, err
}

// inspectReplaced is inspect for a build with replacements.
func (e *Engine) inspectReplaced(ws *Workspace) (ReplacedBuild, error) {
	b, info, err := ws.inspect()
	if err != nil {
		return ReplacedBuild{}, err
	}
	build := ReplacedBuild{Build: k6x.Build{Toolchain: info.GoVersion, Warnings: b.Warnings()}}
	linked := make(map[string]string)
	for _, dep := range info.Deps {
		linked[dep.Path] = dep.Version
		from := cmp.Or(dep.Replace, dep)
		build.BuildList = append(build.BuildList, k6x.Linked{Path: dep.Path, Version: from.Version, Sum: from.Sum})
	}
	for _, path := range slices.Sorted(maps.Keys(ws.replaced)) {
		version, ok := linked[path]
		if ws.replaced[path].By != "" && (!ok || !ws.replaced.Has(module.Version{Path: path, Version: version})) {
			continue
		}
		if !ok {
			return ReplacedBuild{}, k6x.Errorf(k6x.Invalid, "nothing of the module %s is in the binary, so it cannot be replaced", path).
				WithHint("Leave the replacement out, or check the name of the module.")
		}
		build.Replaced = append(build.Replaced, ws.replaced[path])
	}
	for _, m := range gobuild.Modules(ws.recipe) {
		version := linked[m.Path]
		if _, replaced := ws.replaced[m.Path]; !replaced && version != m.Version {
			build.Raised = append(build.Raised, Raised{m, version, b.RequiredBy(module.Version{Path: m.Path, Version: version})})
		}
	}
	return build, nil
}

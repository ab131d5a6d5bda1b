package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/builder/source"
	"k6x/cache"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/resolver"
)

func (o *options) addReplace(f *pflag.FlagSet) {
	f.StringArrayVar(&o.replace, "replace", nil,
		"`NAME=SOURCE` to build NAME from: a directory such as ./xk6-mine, module@version, or a git repository such as https://github.com/me/xk6-mine#branch; built here each time; may be repeated")
}

// replacedNames returns the names that code is given for.
func (o *options) replacedNames() []string {
	var names []string
	for _, text := range o.replace {
		if name, _, _ := strings.Cut(text, "="); k6x.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// replacement is one module that is built from elsewhere.
type replacement struct {
	name string // as in --replace
	code source.Code
	path string // of the module that is replaced
}

// buildReplaced builds a k6 of which some modules are replaced. It is not kept among those that
// have versions, and is built anew each time, as the code may be different each time.
func (o *options) buildReplaced(ctx context.Context, platform k6x.Platform, needs k6x.List, shown *screen) (_ program, err error) {
	tools, err := o.openGo(ctx, shown)
	if err != nil {
		return program{}, err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	engine, r, err := o.openNative(ctx, tools, shown)
	if err != nil {
		return program{}, err
	}
	home := filepath.Join(o.cacheDir, replacedDir)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return program{}, k6x.Errorf(k6x.Internal, "the cache directory cannot be written: %w", err).WithHint("Choose another one with --cache-dir.")
	}
	fetched, err := os.MkdirTemp(home, "git-")
	if err != nil {
		return program{}, err
	}
	defer func() { err = errors.Join(err, cache.RemoveAll(fetched)) }()
	replaced, err := o.replacements(ctx, tools, r, fetched, shown)
	if err != nil {
		return program{}, err
	}
	// Those that have versions; k6 is among them, also if it is replaced.
	rest := slices.DeleteFunc(slices.Clone(needs), func(dep k6x.Dependency) bool {
		return dep.Name != k6x.K6 && slices.ContainsFunc(replaced, func(x replacement) bool { return x.name == dep.Name })
	})
	if err := permitReplaced(r, rest, replaced); err != nil {
		return program{}, err
	}
	modules, cgo, err := resolveReplaced(ctx, r, rest, replaced)
	if err != nil {
		return program{}, err
	}
	recipe := k6x.NewRecipe(platform, modules, cgo, engine.Settings())
	by := make([]native.Replacement, len(replaced))
	for i, x := range replaced {
		by[i] = native.Replacement{Path: x.path, Dir: x.code.Dir, With: x.code.Module, Fetched: x.code.Source.Remote != ""}
	}
	file := filepath.Join(home, "k6-"+replacedID(platform, recipe, replaced), platform.Executable())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return program{}, err
	}
	out, err := cli.CreateOutput(file, "cache-dir")
	if err != nil {
		return program{}, err
	}
	defer out.Discard()
	shown.print(true, "building here, with what is replaced")
	target := recipe.Path()
	shown.command.Resolved(target)
	var built native.ReplacedBuild
	_, err = builder.Run(ctx, builder.EngineFunc(func(ctx context.Context, _ builder.Job, report event.Sink, out io.Writer) (k6x.Build, error) {
		built, err = engine.BuildReplaced(ctx, recipe, by, report, out)
		return k6x.Build{Warnings: built.Warnings}, err
	}), builder.Job{Recipe: recipe}, shown.watch(""), out)
	if err != nil {
		return program{}, err
	}
	if err := out.Commit(); err != nil {
		return program{}, err
	}
	for _, raised := range built.Raised {
		shown.print(false, raised.String())
	}
	for _, also := range built.Replaced {
		if also.By != "" {
			shown.print(false, also.String()+", as the go.mod in "+also.By+" says")
		}
	}
	for _, warning := range built.Warnings {
		shown.warn(warning)
	}
	app.TrimGoCaches(ctx, engine, int64(o.goCache), shown.logger())
	made := program{Path: file, Target: target, Source: "native", Versions: versionsOf(recipe)}
	for _, x := range replaced {
		made.Replaced += fmt.Sprintf("  replaced: %s (%s) => %s\n", x.name, x.path, x.code)
	}
	if err := keepNewest(home, maxReplaced); err != nil { // one of them may be running, which keeps it on Windows
		shown.print(true, err.Error())
	}
	return made, nil
}

// versionsOf lists k6 and the extensions of a recipe with replaced modules.
func versionsOf(recipe k6x.Recipe) string {
	var words []string
	for _, m := range append([]k6x.Module{recipe.K6}, recipe.Extensions...) {
		words = append(words, strings.Join(m.Names, "+")+"@"+cmp.Or(m.Version, "replaced"))
	}
	return strings.Join(words, ",")
}

// replacedID names the directory of a binary: that of the one built before of the same names and the same
// code. Code in a directory is named by its absolute path: ./mine may be another one for another launcher.
func replacedID(platform k6x.Platform, recipe k6x.Recipe, replaced []replacement) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s %s\n", platform, versionsOf(recipe))
	for _, x := range replaced {
		fmt.Fprintf(hash, "%s=%s\n", x.name, x.code)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// replacements reads --replace and fetches what is at a git repository.
func (o *options) replacements(ctx context.Context, tools *app.Tools, r *resolver.Resolver, fetched string, shown *screen) ([]replacement, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var all []replacement
	for i, text := range o.replace {
		name, from, ok := strings.Cut(text, "=")
		if !ok || k6x.CheckName(name) != nil {
			return nil, cli.Usage(fmt.Errorf("--replace %q is not NAME=SOURCE, such as k6/x/mine=./xk6-mine", text))
		}
		src, err := source.Parse(from, dir)
		if err != nil {
			return nil, cli.Usage(fmt.Errorf("--replace %s: %w", name, err))
		}
		if src.Remote != "" {
			shown.display.Spin("fetching " + src.String())
		}
		x := replacement{name: name}
		git := source.Git{Cage: tools.Cage, Egress: tools.Tool.Egress, Logger: shown.logger()}
		if x.code, err = git.Resolve(ctx, src, filepath.Join(fetched, fmt.Sprint(i))); err != nil {
			return nil, fmt.Errorf("--replace %s: %w", name, err)
		}
		if x.path, err = modulePath(ctx, r, name, x.code.Path); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other replacement) bool { return other.name == name }) {
			return nil, cli.Usage(fmt.Errorf("--replace names %s twice", name))
		}
		all = append(all, x)
	}
	return all, nil
}

// permitReplaced returns an error of kind Forbidden for modules that the filter refuses. A replaced module is looked up by its name, and by
// the modules that it is and that its code comes from; other rules are for code that has a version.
func permitReplaced(r *resolver.Resolver, rest k6x.List, replaced []replacement) error {
	for _, x := range replaced {
		for _, name := range []string{x.name, x.path, x.code.Path, x.code.Module.Path} {
			if err := r.Filtered(name); err != nil {
				return err
			}
		}
	}
	return r.Permit(rest)
}

// modulePath returns the module that a name stands for: that of the registry, or else the one that its
// code says it is.
func modulePath(ctx context.Context, r *resolver.Resolver, name, own string) (string, error) {
	if k6x.IsModulePath(name) {
		return name, nil
	}
	list, err := k6x.NewList(k6x.Dependency{Name: name})
	if err != nil {
		return "", err
	}
	found, err := r.Resolve(ctx, list)
	if ctx.Err() != nil {
		return "", err
	}
	for _, m := range found.Modules {
		if slices.Contains(m.Names, name) {
			return m.Path, nil
		}
	}
	return own, nil
}

// resolveReplaced returns the modules of a binary: versions for those that are not replaced, none for the others.
func resolveReplaced(ctx context.Context, r *resolver.Resolver, rest k6x.List, replaced []replacement) ([]k6x.Module, bool, error) {
	if _, ok := rest.Lookup(k6x.K6); !ok {
		rest = append(k6x.List{{Name: k6x.K6}}, rest...)
	}
	found, err := r.Resolve(ctx, rest)
	if err != nil {
		return nil, false, err
	}
	for _, x := range replaced {
		at := slices.IndexFunc(found.Modules, func(m k6x.Module) bool { return m.Path == x.path })
		switch {
		case x.name == k6x.K6:
		case at >= 0:
			found.Modules[at].Version = ""
			if !slices.Contains(found.Modules[at].Names, x.name) {
				found.Modules[at].Names = append(found.Modules[at].Names, x.name)
			}
		default:
			found.Modules = append(found.Modules, k6x.Module{Path: x.path, Names: []string{x.name}})
		}
	}
	return found.Modules, found.Cgo, nil
}

const (
	replacedDir = "replaced"     // the directory for them, below --cache-dir
	maxReplaced = 4              // binaries with replaced modules that stay on disk
	abandoned   = 24 * time.Hour // after which a copy of a repository is not in use any more
)

// keepNewest removes all but the newest binaries in home, and leftovers of killed processes.
func keepNewest(home string, most int) error {
	entries, err := os.ReadDir(home)
	var all []os.FileInfo
	for _, entry := range entries {
		info, statErr := entry.Info()
		switch {
		case statErr != nil: // another launcher was faster
		case strings.HasPrefix(entry.Name(), "k6-"):
			all = append(all, info)
		case time.Since(info.ModTime()) > abandoned:
			err = errors.Join(err, cache.RemoveAll(filepath.Join(home, entry.Name())))
		}
	}
	slices.SortFunc(all, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, old := range all[min(most, len(all)):] {
		err = errors.Join(err, os.RemoveAll(filepath.Join(home, old.Name())))
	}
	return err
}

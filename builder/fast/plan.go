package fast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/internal/gomod"
)

// plan is all that the compiler and the linker need to know about a program.
type plan struct {
	goVersion string // of the main module, such as 1.25.0
	godebug   string
	goMod     string             // as go build would leave it
	main      []string           // packages that main imports
	std       map[string]archive // of packages of the standard library, of which the linker says which it needs
	archives  map[string]archive // of the other packages that are linked
	files     map[string]string  // file of each package that is here, see gather
	info      string             // build info to link in
	goSum     string             // of the index, and lines that it does not have
	compiles  []*source          // what has to be compiled for it, in that order
	suspects  []string           // modules, path@version, that are at fault if the go command makes something else

	goMods  map[module.Version]*gomod.File // that counted; those that are in the index only are not nil
	lacking []string                       // packages, by packageKey, that a module turned out not to have
	shared  bool                           // the index has some of it from the shared build cache
}

var errUnknown = errors.New("not all of it was compiled before")

// plan finds out what go build would link for a recipe. It returns an error if the index
// does not know all of it, or if the go command would have something to say about it. The
// caller holds x.mu.
// If c is not nil, packages that the index does not know may be compiled, of modules that are in c or that
// the index knows; the error is an [unchecked] if others are needed.
// Refuted is read before x.mu is taken, as forget takes both locks in the other order.
func (e *Engine) plan(x *index, recipe k6x.Recipe, refuted refuted, c checked) (*plan, error) {
	if refuted.has(x.name()) {
		return nil, fmt.Errorf("%s is refuted: %w", x.name(), errUnknown)
	}
	s := &selection{mods: e.mods, index: x, refuted: refuted, roots: gobuild.Pins(recipe), goVersion: gobuild.GoVersion,
		platform: recipe.Platform, checked: c, goMods: make(map[module.Version]*gomod.File)}
	unknown := slices.DeleteFunc(slices.Clone(s.roots), func(m module.Version) bool { return x.Shared && x.Sums[m.String()] != "" })
	if err := s.checkModules(unknown); err != nil { // others are, once they are needed
		return nil, err
	}
	main := []string{recipe.K6.Path + "/cmd"}
	for _, m := range recipe.Extensions {
		main = append(main, m.Path)
	}
	for _, path := range main {
		if !plainPath(path) || !mayImport("k6", path) {
			return nil, fmt.Errorf("%s might not be imported: %w", path, errUnknown)
		}
	}
	if err := s.settle(main); err != nil {
		return nil, err
	}
	if err := s.checkCase(); err != nil {
		return nil, err
	}
	p := &plan{goVersion: s.goVersion, main: append(main, "runtime"), std: maps.Clone(x.Std), archives: make(map[string]archive),
		goMods: s.goMods, lacking: s.lacking, shared: x.Shared}
	if err := p.findArchives(s); err != nil {
		return nil, err
	}
	p.suspects = suspects(x, p.compiles)
	if err := p.describe(s); err != nil {
		return nil, err
	}
	var err error
	p.goMod, err = s.goMod(recipe)
	return p, err
}

// findArchives finds the archives of all packages, and those that have to be compiled.
func (p *plan) findArchives(s *selection) error {
	for _, path := range s.order {
		pkg := s.packages[path]
		a, ok := s.index.Archives[pkg.id]
		if src := s.sources[packageKey(path, pkg.module)]; !ok && src != nil && len(p.compiles) < maxCompiles {
			p.compiles = append(p.compiles, src)
			continue
		}
		if !ok {
			return fmt.Errorf("%s: %w", path, errUnknown)
		}
		p.archives[path] = a
	}
	return nil
}

// gather finds the files of all archives in the build cache. Those that are not there are fetched from the shared one.
func (e *Engine) gather(ctx context.Context, b *build, p *plan) error {
	std, others, err := p.use(e.builds)
	if err != nil || p.shared && len(std) > 0 {
		failed := b.ws.Shared(ctx).Fetch(ctx, append(std, others...))
		if _, _, err = p.use(e.builds); err != nil {
			return errors.Join(err, failed)
		}
	}
	for _, pkg := range p.compiles {
		for _, path := range pkg.std {
			if _, ok := p.files[path]; !ok {
				return fmt.Errorf("%s: %w", path, errUnknown)
			}
		}
	}
	return nil
}

// use notes the files of all archives that are here, and returns the digests of those that are not, of the standard library and of others, which
// is an error.
func (p *plan) use(cache string) (std, others []string, err error) {
	p.files = make(map[string]string)
	for path, a := range p.std {
		if file, err := a.use(cache); err == nil {
			p.files[path] = file
		} else {
			std = append(std, a.digest())
		}
	}
	for path, a := range p.archives {
		file, failed := a.use(cache)
		if failed == nil {
			p.files[path] = file
		} else {
			others = append(others, a.digest())
			err = fmt.Errorf("%s: %w", path, failed)
		}
	}
	return std, others, err
}

// describe makes the build info and the go.sum.
func (p *plan) describe(s *selection) error {
	like, ok := s.index.Info[p.goVersion]
	if !ok {
		return fmt.Errorf("go %s in the main module: %w", p.goVersion, errUnknown)
	}
	info, err := debug.ParseBuildInfo(like)
	if err != nil {
		return err
	}
	for _, setting := range info.Settings {
		if setting.Key == "DefaultGODEBUG" {
			p.godebug = setting.Value
		}
	}
	if p.goSum, err = s.goSum(s.index.GoSum); err != nil {
		return err
	}
	if info.Deps, err = s.deps(); err != nil {
		return err
	}
	p.info = info.String()
	return nil
}

// suspects returns the modules, path@version, that are at fault if the go command does not make the same with new packages: those that
// these are of, but none that the index knows if there are others. The caller holds x.mu.
func suspects(x *index, compiles []*source) []string {
	modules := make(map[string]bool)
	for _, pkg := range compiles {
		modules[pkg.module.String()] = true
	}
	if unknown := x.unknown(maps.Keys(modules)); len(unknown) > 0 {
		return unknown
	}
	return slices.Sorted(maps.Keys(modules))
}

// goSum returns the lines of old, with lines of modules that were checked for this plan. It makes sure that it has the hash of each go.mod that
// counts: it goes into the lock, and says that the go command has once checked that file.
func (s *selection) goSum(old string) (string, error) {
	has := make(map[module.Version]bool)
	for line := range strings.Lines(old) {
		if m, ofGoMod := gomod.ParseSum(line); ofGoMod {
			has[m] = true
		}
	}
	more := ""
	for m := range s.graph.Files {
		if has[m] {
			continue
		}
		c, ok := s.checked[m]
		if !ok {
			return "", fmt.Errorf("the hash of %s's go.mod: %w", m, errUnknown)
		}
		more += fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version, c.Sum, m.Path, m.Version, c.GoModSum)
	}
	if len(old)+len(more) > maxSums {
		return "", fmt.Errorf("a go.sum of more than %d bytes: %w", maxSums, errUnknown)
	}
	return gomod.JoinSums(old, more, maxSums), nil
}

// deps returns the modules that are linked, as build info names them.
func (s *selection) deps() ([]*debug.Module, error) {
	linked := make(map[string]*debug.Module)
	for _, pkg := range s.packages {
		sum, ok := s.sumOf(pkg.module)
		if !ok {
			return nil, fmt.Errorf("the hash of %s: %w", pkg.module, errUnknown)
		}
		linked[pkg.module.Path] = &debug.Module{Path: pkg.module.Path, Version: pkg.module.Version, Sum: sum}
	}
	var deps []*debug.Module
	for _, path := range slices.Sorted(maps.Keys(linked)) {
		deps = append(deps, linked[path])
	}
	return deps, nil
}

// goMod returns the main module's go.mod as go build would leave it: as it was, if there
// is nothing to add.
func (s *selection) goMod(recipe k6x.Recipe) (string, error) {
	text, direct := gobuild.GoMod(recipe), gobuild.Pins(recipe)
	f, err := modfile.Parse("go.mod", []byte(text), nil)
	if err != nil {
		return "", err
	}
	if f.Go.Version == s.goVersion && len(s.roots) == len(direct) {
		return text, nil
	}
	if err := f.AddGoStmt(s.goVersion); err != nil {
		return "", err
	}
	var requires []*modfile.Require
	for _, m := range s.roots {
		requires = append(requires, &modfile.Require{Mod: m, Indirect: !slices.Contains(direct, m)})
	}
	f.SetRequireSeparateIndirect(requires)
	f.SortBlocks()
	f.Cleanup()
	return string(modfile.Format(f.Syntax)), nil
}

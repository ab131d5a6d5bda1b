package fast

import (
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
	goMod     string            // as go build would leave it
	direct    map[string]string // file of each package that main imports
	files     map[string]string // file of each package that may be linked
	info      string            // build info to link in
	goSum     string            // of the index, and lines that it does not have
	compiles  []*source         // what has to be compiled for it, in that order
	suspects  []string          // modules, path@version, that are at fault if the go command makes something else
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
		platform: recipe.Platform, checked: c}
	if err := s.checkModules(s.roots); err != nil {
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
	p := &plan{goVersion: s.goVersion, direct: make(map[string]string), files: make(map[string]string)}
	if err := p.findFiles(s, e.builds); err != nil {
		return nil, err
	}
	for _, path := range append(main, "runtime") {
		p.direct[path] = p.files[path] // "" for those to be compiled
	}
	p.suspects = suspects(x, p.compiles)
	if err := p.describe(s); err != nil {
		return nil, err
	}
	var err error
	p.goMod, err = s.goMod(recipe)
	return p, err
}

// findFiles finds the files of all packages in the build cache, and those that have to be compiled.
func (p *plan) findFiles(s *selection, cache string) error {
	for path, a := range s.index.Std {
		if file, err := a.use(cache); err == nil { // otherwise the linker says whether it needs it
			p.files[path] = file
		}
	}
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
		file, err := a.use(cache)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		p.files[path] = file
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

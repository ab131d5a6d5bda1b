package native

import (
	"errors"
	"fmt"
	"go/version"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"k6x"
)

// plan is all that the compiler and the linker have to be told about a program.
type plan struct {
	goVersion string // of the main module, such as 1.25.0
	godebug   string
	goMod     string            // as go build would leave it
	direct    map[string]string // file of each package that main imports
	files     map[string]string // file of each package that may be linked
	info      string            // build info to link in
}

var errUnknown = errors.New("not all of it was compiled before")

// plan finds out what go build would link for a recipe. It returns an error if the kit
// does not know all of it, or if the go command would have something to say about it. The
// caller holds k.mu.
func (e *Engine) plan(k *kit, recipe k6x.Recipe) (*plan, error) {
	s := &selection{mods: e.mods, kit: k, roots: pins(recipe), modCache: e.dirs.ModCache}
	main := []string{recipe.K6.Path + "/cmd"}
	for _, m := range recipe.Extensions {
		main = append(main, m.Path)
	}
	if err := s.settle(main); err != nil {
		return nil, err
	}
	godebug, ok := k.Godebug[s.goVersion]
	if !ok {
		return nil, fmt.Errorf("go %s in the main module: %w", s.goVersion, errUnknown)
	}
	p := &plan{goVersion: s.goVersion, godebug: godebug, direct: make(map[string]string), files: make(map[string]string)}
	for path, file := range k.Std {
		p.files[path] = file
	}
	for path, pkg := range s.packages {
		file, ok := k.Archives[pkg.id]
		if !ok {
			return nil, fmt.Errorf("%s: %w", path, errUnknown)
		}
		p.files[path] = file
	}
	for path, file := range p.files {
		file = filepath.Join(e.dirs.Cache, file)
		if err := use(file); err != nil {
			return nil, err
		}
		p.files[path] = file
	}
	for _, path := range append(main, "runtime") {
		p.direct[path] = p.files[path]
	}
	var err error
	if p.info, err = s.buildInfo(k, godebug); err != nil {
		return nil, err
	}
	p.goMod, err = s.goMod(recipe)
	return p, err
}

// use makes sure that a file of the build cache is there, and that it is not
// trimmed as one that nobody uses.
func use(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if now := time.Now(); now.Sub(info.ModTime()) > time.Hour {
		return os.Chtimes(file, now, now)
	}
	return nil
}

// selection is the work of choosing module versions and finding packages in them, as the
// go command does it for a main module of go 1.17 or later (Go Modules Reference: minimal
// version selection, graph pruning).
type selection struct {
	mods     *goMods
	kit      *kit
	modCache string
	roots    []module.Version  // the requirements of the main module
	root     map[string]string // their selected versions

	selected  map[string]string // version by module path
	goVersion string
	loaded    map[module.Version]bool // whose go.mod counted
	packages  map[string]*chosen
	missing   error // of a package that no selected module has; one that is selected next may
}

// chosen is a package of the program.
type chosen struct {
	module module.Version
	id     string // "" while its imports are being looked at
}

// settle selects versions until the main module requires each module that provides a
// package: a requirement of its own may raise others.
func (s *selection) settle(main []string) error {
	pinned := slices.Clone(s.roots)
	for range 20 {
		if err := s.choose(); err != nil {
			return err
		}
		for _, m := range pinned {
			if s.selected[m.Path] != m.Version {
				return fmt.Errorf("%s is raised to %s", m, s.selected[m.Path])
			}
		}
		s.packages, s.missing = make(map[string]*chosen), nil
		for _, path := range main {
			if _, err := s.load(path); err != nil {
				return err
			}
		}
		roots := make(map[string]string)
		for _, m := range pinned {
			roots[m.Path] = m.Version
		}
		for _, pkg := range s.packages {
			if pkg.module.Path == "" {
				continue
			}
			roots[pkg.module.Path] = pkg.module.Version
		}
		next := make([]module.Version, 0, len(roots))
		for path, version := range roots {
			next = append(next, module.Version{Path: path, Version: version})
		}
		module.Sort(next)
		if slices.Equal(next, s.roots) {
			return s.missing
		}
		s.roots = next
	}
	return errors.New("the module versions do not settle")
}

// choose selects the highest version of each module that the roots lead to. What
// a module of go 1.17 or later requires is not followed, unless that module is a root.
func (s *selection) choose() error {
	type node struct {
		m    module.Version
		full bool // follow all that it leads to
	}
	s.selected, s.goVersion = make(map[string]string), "1.21" // as newGoMod has it
	s.root = make(map[string]string, len(s.roots))
	s.loaded = make(map[module.Version]bool)
	raise := func(m module.Version) {
		if semver.Compare(m.Version, s.selected[m.Path]) > 0 {
			s.selected[m.Path] = m.Version
		}
	}
	seen := make(map[node]bool)
	var queue []node
	for _, m := range s.roots {
		raise(m)
		queue = append(queue, node{m, false})
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if seen[n] || seen[node{n.m, true}] {
			continue
		}
		if seen[n] = true; len(seen) > maxGraph {
			return errors.New("too many modules")
		}
		f := s.mods.read(n.m)
		if f == nil {
			return fmt.Errorf("go.mod of %s: %w", n.m, errUnknown)
		}
		s.loaded[n.m] = true
		if f.goVersion != "" && version.Compare("go"+f.goVersion, "go"+s.goVersion) > 0 {
			s.goVersion = f.goVersion
		}
		full := n.full || f.goVersion == "" || version.Compare("go"+f.goVersion, "go1.17") < 0
		for _, r := range f.requires {
			raise(r)
			if full {
				queue = append(queue, node{r, true})
			}
		}
	}
	for _, m := range s.roots {
		s.root[m.Path] = s.selected[m.Path]
	}
	return nil
}

// load finds the package with an import path, and all that it imports.
func (s *selection) load(path string) (*chosen, error) {
	if pkg, ok := s.packages[path]; ok {
		if pkg.id == "" {
			return nil, fmt.Errorf("%s imports itself", path)
		}
		return pkg, nil
	}
	m, err := s.provider(path)
	if err != nil {
		return nil, err
	}
	pkg := &chosen{module: m}
	s.packages[path] = pkg
	key := packageKey(path, m)
	var ids []string
	for _, imported := range s.kit.Packages[key] {
		dep, err := s.load(imported)
		if err != nil {
			return nil, err
		}
		ids = append(ids, dep.id)
	}
	pkg.id = identity(key, ids)
	return pkg, nil
}

// provider returns the one module that has the package; none if the package is missing.
// As the go command does, it looks among the roots first, and is content with what it finds.
func (s *selection) provider(pkg string) (module.Version, error) {
	for _, among := range []map[string]string{s.root, s.selected} {
		if m, err := s.providerAmong(among, pkg); err != nil || m.Path != "" {
			return m, err
		}
	}
	s.missing = fmt.Errorf("%s: %w", pkg, errUnknown)
	return module.Version{}, nil
}

func (s *selection) providerAmong(versions map[string]string, pkg string) (found module.Version, err error) {
	for prefix := pkg; prefix != "."; prefix = path.Dir(prefix) {
		v, ok := versions[prefix]
		if !ok {
			continue
		}
		m := module.Version{Path: prefix, Version: v}
		if _, ok := s.kit.Packages[packageKey(pkg, m)]; !ok {
			if err := s.lacks(m, pkg); err != nil {
				return module.Version{}, err
			}
			continue
		}
		if found.Path != "" {
			return module.Version{}, fmt.Errorf("%s is in %s and in %s", pkg, found, m)
		}
		found = m
	}
	return found, nil
}

// lacks returns an error unless it is sure that m has no such package.
func (s *selection) lacks(m module.Version, pkg string) error {
	dir, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	v, err := module.EscapeVersion(m.Version)
	if err != nil {
		return err
	}
	root := filepath.Join(s.modCache, filepath.FromSlash(dir)+"@"+v)
	if _, err := os.Stat(root); err != nil {
		return fmt.Errorf("%s: %w", m, errUnknown)
	}
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(strings.TrimPrefix(pkg, m.Path))))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".go") {
			return fmt.Errorf("%s in %s: %w", pkg, m, errUnknown)
		}
	}
	return err
}

// buildInfo returns what the go command would link in for [debug.ReadBuildInfo].
func (s *selection) buildInfo(k *kit, godebug string) (string, error) {
	info, err := debug.ParseBuildInfo(k.Info)
	if err != nil {
		return "", err
	}
	deps := make(map[string]*debug.Module)
	for _, pkg := range s.packages {
		sum := k.Sums[pkg.module.String()]
		deps[pkg.module.Path] = &debug.Module{Path: pkg.module.Path, Version: pkg.module.Version, Sum: sum}
	}
	info.Deps = nil
	for _, path := range slices.Sorted(maps.Keys(deps)) {
		info.Deps = append(info.Deps, deps[path])
	}
	was := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "DefaultGODEBUG" })
	if (was >= 0) != (godebug != "") {
		return "", fmt.Errorf("settings with GODEBUG %q: %w", godebug, errUnknown)
	}
	if was >= 0 {
		info.Settings[was].Value = godebug
	}
	return info.String(), nil
}

// goMod returns the main module's go.mod as go build would leave it: as it was, if there
// is nothing to add.
func (s *selection) goMod(recipe k6x.Recipe) (string, error) {
	text, direct := newGoMod(recipe), pins(recipe)
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

package fast

import (
	"context"
	"errors"
	"fmt"
	"go/version"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// selection is the work of choosing module versions and finding packages in them, as the
// go command does it for a main module of go 1.17 or later (Go Modules Reference: minimal
// version selection, graph pruning).
type selection struct {
	mods     *gomod.Cache
	index    *index
	refuted  refuted
	platform k6x.Platform
	checked  checked           // nil: nothing is compiled
	roots    []module.Version  // the requirements of the main module
	root     map[string]string // their selected versions

	selected  map[string]string // version by module path
	goVersion string            // only ever raised
	graph     *gomod.Graph      // of the go.mod files that count
	packages  map[string]*linkedPackage
	order     []string           // of packages, each after its imports
	sources   map[string]*source // by packageKey, of those that the index does not know; nil: it is not one
	missing   error              // of a package that no selected module has; one that is selected next may

	goMods  map[module.Version]*gomod.File // that were read; those of the index only are not nil
	lacking []string                       // packages, by packageKey, that a module does not have although they might be there
}

// linkedPackage is a package of the program.
type linkedPackage struct {
	module module.Version
	id     string // "" while its imports are being looked at
}

// maxSettles bounds how often the main module gets new requirements, which a few times do.
const maxSettles = 20

// settle selects versions until the main module requires each module that provides a
// package: a requirement of its own may raise others. A requirement that was made stays, as
// the go command has it, even if another version of the importer can do without.
func (s *selection) settle(main []string) error {
	pinned := slices.Clone(s.roots)
	for range maxSettles {
		if err := s.choose(); err != nil {
			return err
		}
		for _, m := range pinned {
			if s.selected[m.Path] != m.Version {
				return fmt.Errorf("%s is raised to %s", m, s.selected[m.Path])
			}
		}
		s.packages, s.order, s.missing = make(map[string]*linkedPackage), nil, nil
		for _, path := range main {
			if _, err := s.load(path); err != nil {
				return err
			}
		}
		settled := true
		for _, pkg := range s.packages {
			if _, ok := s.root[pkg.module.Path]; !ok && pkg.module.Path != "" {
				s.root[pkg.module.Path] = pkg.module.Version
				s.roots = append(s.roots, pkg.module)
				settled = false
			}
		}
		if settled {
			return s.missing
		}
		module.Sort(s.roots)
	}
	return gomod.ErrUnsettled
}

// choose selects the highest version of each module that the roots lead to, and raises the roots to that.
func (s *selection) choose() (err error) {
	load := gomod.Loader{Read: s.goModOf}
	if s.graph, err = load.Select(context.Background(), s.roots); err != nil {
		return err
	}
	s.roots, s.selected = s.graph.Roots, s.graph.Selected()
	if version.Compare("go"+s.graph.Go, "go"+s.goVersion) > 0 {
		s.goVersion = s.graph.Go
	}
	s.root = make(map[string]string, len(s.roots))
	for _, m := range s.roots {
		s.root[m.Path] = m.Version
	}
	return nil
}

// goModOf returns the go.mod of m if it may be used without asking the go command.
func (s *selection) goModOf(_ context.Context, m module.Version) (*gomod.File, error) {
	f := s.mods.GoMod(m)
	s.goMods[m] = nil
	if f == nil && s.index.Shared {
		f = s.index.goMod(m)
		s.goMods[m] = f
	}
	switch {
	case f == nil:
		return nil, fmt.Errorf("go.mod of %s: %w", m, errUnknown)
	case f.Path != m.Path:
		return nil, fmt.Errorf("%s calls itself %q: %w", m, f.Path, errUnknown)
	case s.refuted.has(m.String()):
		return nil, fmt.Errorf("%s is refuted: %w", m, errUnknown)
	}
	return f, nil
}

// load finds the package with an import path, and all that it imports.
func (s *selection) load(path string) (*linkedPackage, error) {
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
	pkg := &linkedPackage{module: m}
	s.packages[path] = pkg
	key := packageKey(path, m)
	var ids []string
	for _, imported := range s.importsOf(key) {
		dep, err := s.load(imported)
		if err != nil {
			return nil, err
		}
		ids = append(ids, dep.id)
	}
	pkg.id = identity(key, ids)
	if m.Path != "" { // else it is missing
		s.order = append(s.order, path)
	}
	return pkg, nil
}

// checkCase returns an error if two packages differ only in case, which the go command refuses.
func (s *selection) checkCase() error {
	seen := make(map[string]string, len(s.order))
	for _, path := range s.order {
		lower := strings.ToLower(path)
		if other, ok := seen[lower]; ok {
			return fmt.Errorf("%s and %s: %w", other, path, errUnknown)
		}
		seen[lower] = path
	}
	return nil
}

// importsOf returns what a package imports that is not of the standard library.
func (s *selection) importsOf(key string) []string {
	if src := s.sources[key]; src != nil {
		return src.imports
	}
	return s.index.Packages[key]
}

// has reports whether m has the package, in the index or among the sources.
func (s *selection) has(pkg string, m module.Version) bool {
	key := packageKey(pkg, m)
	if _, ok := s.index.Packages[key]; ok {
		return true
	}
	src, ok := s.sources[key]
	if ok {
		return src != nil
	}
	if _, ok := s.sumOf(m); !ok || s.checked == nil {
		return false
	}
	if root, err := s.mods.Extracted(m); err == nil {
		if f := s.mods.GoMod(m); f != nil {
			src, _ = scan(root, pkg, m, f.Go, s.platform, s.index.Tags)
		}
	}
	if s.sources == nil {
		s.sources = make(map[string]*source)
	}
	s.sources[key] = src
	return src != nil
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
		if !s.has(pkg, m) {
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
	key := packageKey(pkg, m)
	if s.index.Lacks[key] {
		return nil
	}
	if err := s.checkModules([]module.Version{m}); err != nil {
		return err
	}
	root, err := s.mods.Extracted(m)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUnknown)
	}
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(strings.TrimPrefix(pkg, m.Path))))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".go") {
			return fmt.Errorf("%s in %s: %w", pkg, m, errUnknown)
		}
	}
	s.lacking = append(s.lacking, key)
	return nil
}

// unchecked are modules that are not here, or that the go command has not checked.
type unchecked []module.Version

func (u unchecked) Error() string { return fmt.Sprintf("%v: %v", []module.Version(u), errUnknown) }
func (unchecked) Unwrap() error   { return errUnknown }

// checkModules makes sure that modules are here, as the go command has checked them, if packages of them may be compiled.
func (s *selection) checkModules(modules []module.Version) error {
	if s.checked == nil {
		return nil
	}
	var missing unchecked
	for _, m := range modules {
		_, checked := s.sumOf(m)
		if _, err := s.mods.Extracted(m); err != nil || !checked {
			missing = append(missing, m)
		}
	}
	if missing != nil {
		return missing
	}
	return nil
}

// sumOf returns the hash of m that the go command has checked.
func (s *selection) sumOf(m module.Version) (string, bool) {
	if sum, ok := s.index.Sums[m.String()]; ok {
		return sum, true
	}
	c, ok := s.checked[m]
	return c.Sum, ok
}

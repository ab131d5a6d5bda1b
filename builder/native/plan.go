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
	"k6x/builder/internal/gobuild"
)

// plan is all that the compiler and the linker have to be told about a program.
type plan struct {
	goVersion string // of the main module, such as 1.25.0
	godebug   string
	goMod     string            // as go build would leave it
	direct    map[string]string // file of each package that main imports
	files     map[string]string // file of each package that may be linked
	info      string            // build info to link in
	goSum     string            // lines that the kit does not have
	units     []unit            // what has to be compiled for it, in that order
	suspects  []string          // modules, path@version, that are at fault if the go command makes something else
}

// unit is a package to compile.
type unit struct {
	path   string
	module module.Version
	source *source
}

var (
	errUnknown   = errors.New("not all of it was compiled before")
	errUnsettled = errors.New("the module versions do not settle")
)

// maxRaises bounds how often the module versions are selected anew, which a few times do.
const maxRaises = 20

// plan finds out what go build would link for a recipe. It returns an error if the kit
// does not know all of it, or if the go command would have something to say about it. The
// caller holds k.mu.
// If c is not nil, packages that the kit does not know may be compiled, of modules that are in c or that
// the kit knows; the error is an [unchecked] if others are needed.
func (e *Engine) plan(k *kit, recipe k6x.Recipe, c checked) (*plan, error) {
	refuted, err := e.kits.readRefuted()
	if err != nil {
		return nil, err
	}
	if refuted.has(k.name()) {
		return nil, fmt.Errorf("%s is refuted: %w", k.name(), errUnknown)
	}
	s := &selection{mods: e.mods, kit: k, refuted: refuted, roots: gobuild.Pins(recipe), modCache: e.dirs.ModCache, platform: recipe.Platform, checked: c}
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
	like, ok := k.Info[s.goVersion]
	if !ok {
		return nil, fmt.Errorf("go %s in the main module: %w", s.goVersion, errUnknown)
	}
	info, err := debug.ParseBuildInfo(like)
	if err != nil {
		return nil, err
	}
	p := &plan{goVersion: s.goVersion, direct: make(map[string]string), files: make(map[string]string)}
	for _, setting := range info.Settings {
		if setting.Key == "DefaultGODEBUG" {
			p.godebug = setting.Value
		}
	}
	for path, a := range k.Std {
		if file, err := a.use(e.dirs.Cache); err == nil { // otherwise the linker says whether it needs it
			p.files[path] = file
		}
	}
	for _, path := range s.order {
		pkg := s.packages[path]
		a, ok := k.Archives[pkg.id]
		if src := s.sources[packageKey(path, pkg.module)]; !ok && src != nil && len(p.units) < maxUnits {
			p.units = append(p.units, unit{path, pkg.module, src})
			continue
		}
		if !ok {
			return nil, fmt.Errorf("%s: %w", path, errUnknown)
		}
		file, err := a.use(e.dirs.Cache)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		p.files[path] = file
	}
	p.suspects = suspects(k, p.units)
	for _, path := range append(main, "runtime") {
		p.direct[path] = p.files[path] // "" for those to be compiled
	}
	for _, unit := range p.units {
		for _, path := range unit.source.std {
			if _, ok := p.files[path]; !ok {
				return nil, fmt.Errorf("%s: %w", path, errUnknown)
			}
		}
	}
	if p.goSum, err = s.checkSums(k.GoSum); err != nil {
		return nil, err
	}
	if info.Deps, err = s.deps(); err != nil {
		return nil, err
	}
	p.info = info.String()
	p.goMod, err = s.goMod(recipe)
	return p, err
}

// use returns where the file is in the build cache. It makes sure that it is there as a whole,
// and that it is not trimmed as one that nobody uses.
func (a archive) use(cache string) (string, error) {
	if !filepath.IsLocal(a.File) {
		return "", fmt.Errorf("%s is not in the build cache", a.File)
	}
	file := filepath.Join(cache, a.File)
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Size() != a.Size {
		return "", fmt.Errorf("%s is damaged", a.File)
	}
	if now := time.Now(); now.Sub(info.ModTime()) > time.Hour {
		return file, os.Chtimes(file, now, now)
	}
	return file, nil
}

// selection is the work of choosing module versions and finding packages in them, as the
// go command does it for a main module of go 1.17 or later (Go Modules Reference: minimal
// version selection, graph pruning).
type selection struct {
	mods     *goMods
	kit      *kit
	refuted  refuted
	modCache string
	platform k6x.Platform
	checked  checked           // nil: nothing is compiled
	roots    []module.Version  // the requirements of the main module
	root     map[string]string // their selected versions

	selected  map[string]string       // version by module path
	goVersion string                  // only ever raised
	loaded    map[module.Version]bool // whose go.mod counted
	packages  map[string]*chosen
	order     []string           // of packages, each after its imports
	sources   map[string]*source // by packageKey, of those that the kit does not know; nil: it is not one
	missing   error              // of a package that no selected module has; one that is selected next may
}

// chosen is a package of the program.
type chosen struct {
	module module.Version
	id     string // "" while its imports are being looked at
}

// settle selects versions until the main module requires each module that provides a
// package: a requirement of its own may raise others. A requirement that was made stays, as
// the go command has it, even if another version of the importer can do without.
func (s *selection) settle(main []string) error {
	pinned := slices.Clone(s.roots)
	for range maxRaises {
		if err := s.raiseRoots(); err != nil {
			return err
		}
		for _, m := range pinned {
			if s.selected[m.Path] != m.Version {
				return fmt.Errorf("%s is raised to %s", m, s.selected[m.Path])
			}
		}
		s.packages, s.order, s.missing = make(map[string]*chosen), nil, nil
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
	return errUnsettled
}

// raiseRoots chooses versions until each root is the selected version of its module.
func (s *selection) raiseRoots() error {
	for range maxRaises {
		if err := s.choose(); err != nil {
			return err
		}
		raised := false
		for i, m := range s.roots {
			s.roots[i].Version = s.selected[m.Path]
			raised = raised || s.roots[i] != m
		}
		if !raised {
			return nil
		}
	}
	return errUnsettled
}

// choose selects the highest version of each module that the roots lead to. What
// a module of go 1.17 or later requires is not followed, unless that module is a root.
func (s *selection) choose() error {
	type node struct {
		m    module.Version
		full bool // follow all that it leads to
	}
	s.selected = make(map[string]string)
	if s.goVersion == "" {
		s.goVersion = "1.21" // as gobuild.GoMod has it
	}
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
		switch {
		case s.kit == nil && f == nil: // go build has made it without that
			continue
		case s.kit == nil:
		case f == nil:
			return fmt.Errorf("go.mod of %s: %w", n.m, errUnknown)
		case f.path != n.m.Path:
			return fmt.Errorf("%s calls itself %q: %w", n.m, f.path, errUnknown)
		case s.refuted.has(n.m.String()):
			return fmt.Errorf("%s is refuted: %w", n.m, errUnknown)
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
	return s.kit.Packages[key]
}

// knows reports whether m has the package, of which then all is known.
func (s *selection) knows(pkg string, m module.Version) bool {
	key := packageKey(pkg, m)
	if _, ok := s.kit.Packages[key]; ok {
		return true
	}
	src, ok := s.sources[key]
	if ok {
		return src != nil
	}
	if _, ok := s.sumOf(m); !ok || s.checked == nil {
		return false
	}
	if root, err := extracted(s.modCache, m); err == nil {
		if f := s.mods.read(m); f != nil {
			src, _ = scan(root, pkg, m, f.goVersion, s.platform, s.kit.Tags)
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
		if !s.knows(pkg, m) {
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
	if err := s.checkModules([]module.Version{m}); err != nil {
		return err
	}
	root, err := extracted(s.modCache, m)
	if err != nil {
		return err
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
		_, known := s.sumOf(m)
		if _, err := extracted(s.modCache, m); err != nil || !known {
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
	if sum, ok := s.kit.Sums[m.String()]; ok {
		return sum, true
	}
	c, ok := s.checked[m]
	return c.Sum, ok
}

// checkSums makes sure that goSum has the hash of each go.mod that counts: it goes into the
// lock, and says that the go command has once checked that file. It returns the lines that goSum lacks, of modules that
// were checked for this plan.
func (s *selection) checkSums(goSum string) (more string, err error) {
	known := make(map[module.Version]bool)
	for line := range strings.Lines(goSum) {
		if m, ofGoMod := sumOf(line); ofGoMod {
			known[m] = true
		}
	}
	for m := range s.loaded {
		if known[m] {
			continue
		}
		c, ok := s.checked[m]
		if !ok {
			return "", fmt.Errorf("the hash of %s's go.mod: %w", m, errUnknown)
		}
		more += fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version, c.Sum, m.Path, m.Version, c.GoModSum)
	}
	return more, nil
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

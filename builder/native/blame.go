package native

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
)

// maxSources bounds the files that are read to find an import.
const maxSources = 20_000

// blame finds out which module of a recipe is at fault.
type blame struct {
	recipe   k6x.Recipe
	replaced replacements
	modCache string
	graph    *graph
	selected map[string]string // version by module path
}

func (e *Engine) newBlame(ws *workspace) *blame {
	g := loadGraph(ws.replaced.reader(e.mods), pins(ws.recipe))
	return &blame{recipe: ws.recipe, replaced: ws.replaced, modCache: e.dirs.ModCache, graph: g, selected: g.selected()}
}

// owner returns the module that a package belongs to, if it is one of the build.
func (b *blame) owner(pkg string) (module.Version, bool) {
	for path := pkg; ; {
		if version, ok := b.selected[path]; ok {
			return module.Version{Path: path, Version: version}, true
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return module.Version{}, false
		}
		path = path[:i]
	}
}

// label returns the words for a module: with the names it was asked for as, if it was.
func (b *blame) label(m module.Version) string {
	if r, ok := b.replaced[m.Path]; ok {
		return r.label(b.recipe)
	}
	for _, asked := range modules(b.recipe) {
		if asked.Path == m.Path && asked.Version == m.Version {
			return asked.Label()
		}
	}
	return m.String()
}

// k6 is the label of k6 itself.
func (b *blame) k6() string { return b.label(b.graph.pins[0]) }

// list returns the words for all that was asked for.
func (b *blame) list() string { return b.replaced.list(b.recipe) }

func (b *blame) labels(list []module.Version) []string {
	labels := make([]string, len(list))
	for i, m := range list {
		labels[i] = b.label(m)
	}
	return labels
}

func (b *blame) pinned(path string) bool {
	return slices.ContainsFunc(b.graph.pins, func(p module.Version) bool { return p.Path == path })
}

// describe is label, and for a module that was not asked for, who needs it.
func (b *blame) describe(m module.Version) string {
	if b.pinned(m.Path) {
		return b.label(m)
	}
	// Whoever needs another version of it would get this one.
	who := b.graph.pinsOf(func(n module.Version) bool { return n.Path == m.Path })
	switch len(who) {
	case 0:
		return m.String()
	case 1:
		return m.String() + ", which " + b.label(who[0]) + " needs,"
	}
	return m.String() + ", which " + strings.Join(b.labels(who), " and ") + " need,"
}

// conflict returns the error for a pin that gave way to a higher version.
func (b *blame) conflict(pin module.Version, chosen string) *k6x.Error {
	name := pin.Path
	for _, m := range modules(b.recipe) {
		if m.Path == pin.Path && len(m.Names) > 0 {
			name = m.Names[0]
		}
	}
	who := b.asking(module.Version{Path: pin.Path, Version: chosen})
	return k6x.Errorf(k6x.Conflict, "%s needs %s %s, but %s was asked for", who, name, chosen, pin.Version).
		WithHint("Ask for %s %s, or for a version of the other that does with %s.", name, chosen, pin.Version)
}

// asking returns the words for who requires m: a pin, if there is one.
func (b *blame) asking(m module.Version) string {
	asking := slices.Clone(b.graph.by[m])
	module.Sort(asking)
	if i := slices.IndexFunc(asking, func(m module.Version) bool { return slices.Contains(b.graph.pins, m) }); i >= 0 {
		return b.label(asking[i])
	}
	if len(asking) > 0 {
		return b.describe(asking[0])
	}
	return "another module"
}

// mixed returns the error for a binary with another major version of k6 in it.
func (b *blame) mixed(other string) *k6x.Error {
	who := "An extension"
	if list := b.graph.pinsOf(func(m module.Version) bool { return m.Path == other }); len(list) > 0 {
		who = strings.Join(b.labels(list), ", ")
	}
	return k6x.Errorf(k6x.Conflict, "%s is made for %s and would do nothing in %s", who, other, b.k6()).
		WithHint("Ask for a k6 of the major version that the extension is made for, or for another version of the extension.")
}

// importer returns a module with a file that imports pkg: an extension if there is
// one, else any of the build.
func (b *blame) importer(pkg string) (module.Version, bool) {
	list := slices.Clone(b.graph.pins)
	for _, path := range slices.Sorted(maps.Keys(b.selected)) {
		if m := (module.Version{Path: path, Version: b.selected[path]}); !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	left := maxSources
	for _, m := range list {
		if b.imports(m, pkg, &left) {
			return m, true
		}
	}
	return module.Version{}, false
}

// imports reports whether a file of m, but for its tests, imports pkg. It counts down
// left for each file and gives up at 0.
func (b *blame) imports(m module.Version, pkg string, left *int) bool {
	root, err := b.replaced.root(b.modCache, m)
	if err != nil {
		return false
	}
	found := false
	_ = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil, *left <= 0:
			return fs.SkipAll
		case entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), "_")):
			return fs.SkipDir
		case !entry.Type().IsRegular(), !strings.HasSuffix(file, ".go"), strings.HasSuffix(file, "_test.go"):
			return nil
		}
		*left--
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return nil
		}
		for _, spec := range f.Imports {
			if imported, err := strconv.Unquote(spec.Path.Value); err == nil && imported == pkg {
				found = true
				return fs.SkipAll
			}
		}
		return nil
	})
	return found
}

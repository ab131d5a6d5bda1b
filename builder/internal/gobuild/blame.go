package gobuild

import (
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// Blame finds out which module of a recipe is at fault.
type Blame struct {
	// Imports is what a go command with [ImportsArguments] prints; "": it is not known.
	Imports string

	// Root returns the directory with the files of a module, which may not be there. Nil: there are none here.
	Root func(m module.Version) (string, error)

	Sources *Sources // nil: nothing is remembered

	// Unreached returns the error for what was printed, if it tells of a host that modules may not be fetched
	// from. Nil: it is not known.
	Unreached func(output string) *k6x.Error

	Replaced Replacements // nil: no module is replaced

	recipe   k6x.Recipe
	graph    *gomod.Graph      // from the pins on
	selected map[string]string // version by module path
}

// NewBlame returns what judges builds of the recipe by the go.mod files that the pins lead to.
func NewBlame(recipe k6x.Recipe, graph *gomod.Graph) *Blame {
	return &Blame{recipe: recipe, graph: graph, selected: graph.Selected()}
}

// owner returns the module that a package belongs to, if it is one of the build.
func (b *Blame) owner(pkg string) (module.Version, bool) {
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
func (b *Blame) label(m module.Version) string {
	if r := b.Replaced.of(m); r != nil {
		return r.label(b.recipe)
	}
	for _, asked := range Modules(b.recipe) {
		if asked.Path == m.Path && asked.Version == m.Version {
			return asked.Label()
		}
	}
	return m.String()
}

// k6 is the label of k6 itself.
func (b *Blame) k6() string { return b.label(b.graph.Roots[0]) }

// list returns the words for all that was asked for.
func (b *Blame) list() string {
	if b.Replaced == nil {
		return b.recipe.List().String()
	}
	return strings.Join(b.labels(b.graph.Roots), ", ")
}

func (b *Blame) labels(list []module.Version) []string {
	labels := make([]string, len(list))
	for i, m := range list {
		labels[i] = b.label(m)
	}
	return labels
}

func (b *Blame) pinned(path string) bool {
	return slices.ContainsFunc(b.graph.Roots, func(p module.Version) bool { return p.Path == path })
}

// describe is label, and for a module that was not asked for, which modules need it.
func (b *Blame) describe(m module.Version) string {
	if b.pinned(m.Path) {
		return b.label(m)
	}
	// A module that needs another version of it would get this one.
	subject := b.graph.RootsTo(func(n module.Version) bool { return n.Path == m.Path })
	switch len(subject) {
	case 0:
		return m.String()
	case 1:
		return m.String() + ", which " + b.label(subject[0]) + " needs,"
	}
	return m.String() + ", which " + strings.Join(b.labels(subject), " and ") + " need,"
}

// conflict returns the error for a pin that gave way to a higher version.
func (b *Blame) conflict(pin module.Version, chosen string) *k6x.Error {
	name := pin.Path
	for _, m := range Modules(b.recipe) {
		if m.Path == pin.Path && len(m.Names) > 0 {
			name = m.Names[0]
		}
	}
	subject := b.RequiredBy(module.Version{Path: pin.Path, Version: chosen})
	return k6x.Errorf(k6x.Conflict, "%s needs %s %s, but %s was asked for", subject, name, chosen, pin.Version).
		WithHint("Ask for %s %s, or for a version of the other that does with %s.", name, chosen, pin.Version)
}

// RequiredBy returns the words for a module that requires m: a pin, if there is one.
func (b *Blame) RequiredBy(m module.Version) string {
	asking := b.graph.RequiredBy(m)
	if i := slices.IndexFunc(asking, func(m module.Version) bool { return slices.Contains(b.graph.Roots, m) }); i >= 0 {
		return b.label(asking[i])
	}
	if len(asking) > 0 {
		return b.describe(asking[0])
	}
	return "another module"
}

// mixed returns the error for a binary with another major version of k6 in it.
func (b *Blame) mixed(other string) *k6x.Error {
	subject := "An extension"
	if list := b.graph.RootsTo(func(m module.Version) bool { return m.Path == other }); len(list) > 0 {
		subject = strings.Join(b.labels(list), ", ")
	}
	return k6x.Errorf(k6x.Conflict, "%s is made for %s and would do nothing in %s", subject, other, b.k6()).
		WithHint("Ask for a k6 of the major version that the extension is made for, or for another version of the extension.")
}

// ImportsArguments are those of the go command that prints a line for each package that is not of the standard library: its path and what
// it imports.
var ImportsArguments = []string{"list", "-e", "-deps", "-mod=mod", "-f", "{{if not .Standard}}{{.ImportPath}}{{range .Imports}} {{.}}{{end}}{{end}}", "."}

// importer returns a module with a package that imports pkg: k6 or an extension if there is
// one, else any of the build.
func (b *Blame) importer(pkg string) (module.Version, bool) {
	var found []module.Version
	for line := range strings.Lines(b.Imports) {
		if words := strings.Fields(line); len(words) > 0 && slices.Contains(words[1:], pkg) {
			if m, ok := b.owner(words[0]); ok {
				found = append(found, m)
			}
		}
	}
	module.Sort(found)
	for _, m := range slices.Concat(b.graph.Roots, found) {
		if slices.Contains(found, m) {
			return m, true
		}
	}
	return module.Version{}, false
}

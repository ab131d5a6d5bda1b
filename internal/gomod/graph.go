package gomod

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/sync/errgroup"
)

// Loader says how [Loader.Load] follows go.mod files.
type Loader struct {
	// Read returns the go.mod of a module version; nil: it is left out. It is called for several at once.
	Read func(context.Context, module.Version) (*File, error)

	// Whole: what a module requires is followed even where the go command prunes the graph.
	Whole bool

	Limit  int // of module versions; 0: [MaxGraph]
	AtOnce int // files that are read at once; 0: one
}

// maxRaises bounds how often [Loader.Select] raises roots, which a few times do.
const maxRaises = 20

// ErrUnsettled: the roots were raised again and again.
var ErrUnsettled = errors.New("the module versions do not settle")

// ErrTooLarge: more module versions can be reached than a [Loader] follows.
var ErrTooLarge = errors.New("its module graph is too large")

// Graph is what go.mod files say, from some modules on, the roots.
type Graph struct {
	Roots  []module.Version
	Go     string                   // the newest go line of the files, at least 1.16
	Needed map[string]string        // the highest version that a file requires, by module path
	Files  map[module.Version]*File // those that were followed; nil: it was left out
}

// node is a module version to read the file of.
type node struct {
	module module.Version
	whole  bool // what it requires is followed, and so on
}

// Load follows go.mod files from roots on. It reads those of the roots, and of all that a root of a time before graph pruning
// leads to. Errors are [ErrTooLarge] and those of Read; the graph has what was read until then.
func (l *Loader) Load(ctx context.Context, roots []module.Version) (*Graph, error) {
	g := &Graph{Roots: roots, Go: noGoLine, Needed: make(map[string]string), Files: make(map[module.Version]*File)}
	var todo []node
	for _, m := range roots {
		todo = append(todo, node{m, l.Whole})
	}
	queued := make(map[module.Version]bool) // each is once, as a hostile graph has far more edges than modules
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return g, err
		}
		if err := l.read(ctx, g.Files, todo); err != nil {
			return g, err
		}
		var next []node
		for _, n := range todo {
			f := g.Files[n.module]
			if f == nil {
				continue
			}
			g.add(f)
			if !n.whole && f.pruned() {
				continue
			}
			for _, r := range f.Require {
				if !queued[r] {
					queued[r] = true
					next = append(next, node{r, true})
				}
			}
		}
		todo = next
	}
	return g, nil
}

// read reads the files of nodes that are not in files.
func (l *Loader) read(ctx context.Context, files map[module.Version]*File, nodes []node) error {
	var missing []module.Version
	for _, n := range nodes {
		if _, ok := files[n.module]; !ok {
			files[n.module] = nil
			missing = append(missing, n.module)
		}
	}
	if len(files) > cmp.Or(l.Limit, MaxGraph) {
		return ErrTooLarge
	}
	read := make([]*File, len(missing))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(l.AtOnce, 1))
	for i, m := range missing {
		group.Go(func() (err error) {
			read[i], err = l.Read(ctx, m)
			return err
		})
	}
	err := group.Wait()
	for i, m := range missing {
		files[m] = read[i]
	}
	return err
}

// add adds what a file says.
func (g *Graph) add(f *File) {
	if f.Go != "" && compareGo(f.Go, g.Go) > 0 {
		g.Go = f.Go
	}
	for _, r := range f.Require {
		raise(g.Needed, r)
	}
}

// Select loads until each root is the version that is selected of its module: a main module that requires the roots has its
// requirements raised by the go command. The go line of the graph is the newest that was met on the way, as it is never lowered.
// Errors are those of Load, and [ErrUnsettled].
func (l *Loader) Select(ctx context.Context, roots []module.Version) (*Graph, error) {
	newest := noGoLine
	for range maxRaises {
		g, err := l.Load(ctx, roots)
		if err != nil {
			return nil, err
		}
		if compareGo(newest, g.Go) > 0 {
			g.Go = newest
		}
		newest = g.Go
		raised := slices.Clone(roots)
		selected := g.Selected()
		for i, m := range roots {
			raised[i].Version = selected[m.Path]
		}
		if slices.Equal(raised, roots) {
			return g, nil
		}
		roots = raised
	}
	return nil, ErrUnsettled
}

// Selected returns the version of each module that minimal version selection takes, by path.
func (g *Graph) Selected() map[string]string {
	selected := make(map[string]string, len(g.Needed))
	maps.Copy(selected, g.Needed)
	for _, m := range g.Roots {
		raise(selected, m)
	}
	return selected
}

func raise(versions map[string]string, m module.Version) {
	if have, ok := versions[m.Path]; !ok || semver.Compare(m.Version, have) > 0 {
		versions[m.Path] = m.Version
	}
}

// Reaches reports whether m was followed: in a whole graph, whether it is a root or a go.mod names it.
func (g *Graph) Reaches(m module.Version) bool {
	_, ok := g.Files[m]
	return ok
}

// RequiredBy returns the module versions whose go.mod files require m, sorted.
func (g *Graph) RequiredBy(m module.Version) []module.Version {
	var list []module.Version
	for by, f := range g.Files {
		if f != nil && slices.Contains(f.Require, m) {
			list = append(list, by)
		}
	}
	module.Sort(list)
	return list
}

// RootsTo returns the roots that lead to a module version which match accepts, without those that match accepts themselves.
func (g *Graph) RootsTo(match func(module.Version) bool) []module.Version {
	by := make(map[module.Version][]module.Version)
	seen := make(map[module.Version]bool)
	var todo, roots []module.Version
	for m, f := range g.Files {
		if match(m) {
			seen[m] = true
			todo = append(todo, m)
		}
		if f == nil {
			continue
		}
		for _, r := range f.Require {
			by[r] = append(by[r], m)
		}
	}
	for ; len(todo) > 0; todo = todo[1:] {
		for _, m := range by[todo[0]] {
			if seen[m] {
				continue
			}
			seen[m] = true
			todo = append(todo, m)
			if slices.Contains(g.Roots, m) {
				roots = append(roots, m)
			}
		}
	}
	module.Sort(roots)
	return roots
}

// ParseGraph returns the graph that go mod graph prints, from roots on. What the main module requires counts only as far as it is
// a root: the go command writes there what it has selected. Of a graph that is too large it has a part.
func ParseGraph(roots []module.Version, r io.Reader) (*Graph, error) {
	edges := make(map[module.Version]*File)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		from, to, _ := strings.Cut(lines.Text(), " ")
		by, required := ParseVersion(from), ParseVersion(to)
		if by.Version == "" || required.Version == "" || required.Path == "go" || required.Path == "toolchain" {
			continue
		}
		if edges[by] == nil {
			edges[by] = new(File)
		}
		edges[by].Require = append(edges[by].Require, required)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	load := Loader{Whole: true, Read: func(_ context.Context, m module.Version) (*File, error) { return edges[m], nil }}
	g, _ := load.Load(context.Background(), roots) // the error is ErrTooLarge
	return g, nil
}

// ParseVersion reads path@version; without a version it is that of a main module.
func ParseVersion(text string) (m module.Version) {
	m.Path, m.Version, _ = strings.Cut(text, "@")
	return m
}

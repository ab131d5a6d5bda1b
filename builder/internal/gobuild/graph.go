package gobuild

import (
	"bufio"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// maxGraph bounds the module versions that are followed.
const maxGraph = 20_000

// Graph is what go.mod files say, from the pins on: all module versions that can be
// reached and who requires them. Files that the go command did not need, and so did not
// download, are not in it.
type Graph struct {
	pins     []module.Version
	requires map[module.Version][]module.Version
	by       map[module.Version][]module.Version // who requires it
}

// NewGraph follows what requires says of a module version's go.mod, from the pins on.
func NewGraph(pins []module.Version, requires func(module.Version) []module.Version) *Graph {
	g := &Graph{
		pins:     pins,
		requires: make(map[module.Version][]module.Version),
		by:       make(map[module.Version][]module.Version),
	}
	queue := slices.Clone(pins)
	for len(queue) > 0 && len(g.requires) < maxGraph {
		m := queue[0]
		queue = queue[1:]
		if _, seen := g.requires[m]; seen {
			continue
		}
		list := requires(m)
		g.requires[m] = list
		for _, r := range list {
			g.by[r] = append(g.by[r], m)
		}
		queue = append(queue, list...)
	}
	return g
}

// ReadGraph returns the graph that go mod graph prints. What the main module requires
// counts only as far as it is pinned: the go command writes there what it has selected.
func ReadGraph(pins []module.Version, r io.Reader) (*Graph, error) {
	edges := make(map[module.Version][]module.Version)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		from, to, ok := strings.Cut(lines.Text(), " ")
		who, needs := parseVersion(from), parseVersion(to)
		if ok && who.Version != "" && needs.Version != "" && needs.Path != "go" && needs.Path != "toolchain" {
			edges[who] = append(edges[who], needs)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return NewGraph(pins, func(m module.Version) []module.Version { return edges[m] }), nil
}

// has reports whether a go.mod, or a pin, names m.
func (g *Graph) has(m module.Version) bool {
	_, ok := g.requires[m]
	return ok
}

// selected returns the highest version of each module path that is reached.
func (g *Graph) selected() map[string]string {
	versions := make(map[string]string)
	for m := range g.requires {
		if semver.Compare(m.Version, versions[m.Path]) > 0 {
			versions[m.Path] = m.Version
		}
	}
	return versions
}

// pinsOf returns the pins from which a module version that match accepts is reached,
// without those that match accepts themselves.
func (g *Graph) pinsOf(match func(module.Version) bool) []module.Version {
	seen := make(map[module.Version]bool)
	var queue []module.Version
	for m := range g.requires {
		if match(m) {
			seen[m] = true
			queue = append(queue, g.by[m]...)
		}
	}
	var found []module.Version
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		if seen[m] {
			continue
		}
		seen[m] = true
		if slices.Contains(g.pins, m) {
			found = append(found, m)
		}
		queue = append(queue, g.by[m]...)
	}
	module.Sort(found)
	return found
}

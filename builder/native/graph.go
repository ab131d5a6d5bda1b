package native

import (
	"slices"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// Bounds on what is read of go.mod files, which strangers write.
const (
	maxGoMod  = 16 << 20 // bytes, as the go command has it
	maxGraph  = 20_000   // module versions
	goModTail = ".mod"
)

// graph is what go.mod files say, from the pins on: all module versions that can be
// reached and who requires them. Files that the go command did not need, and so did not
// download, are not in it.
type graph struct {
	pins     []module.Version
	requires map[module.Version][]module.Version
	by       map[module.Version][]module.Version // who requires it
}

// loadGraph follows the go.mod files that read knows, which returns nil for others.
func loadGraph(read func(module.Version) *goMod, pins []module.Version) *graph {
	g := &graph{
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
		var list []module.Version
		if f := read(m); f != nil {
			list = f.requires
		}
		g.requires[m] = list
		for _, r := range list {
			g.by[r] = append(g.by[r], m)
		}
		queue = append(queue, list...)
	}
	return g
}

// has reports whether a go.mod, or a pin, names m.
func (g *graph) has(m module.Version) bool {
	_, ok := g.requires[m]
	return ok
}

// selected returns the highest version of each module path that is reached.
func (g *graph) selected() map[string]string {
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
func (g *graph) pinsOf(match func(module.Version) bool) []module.Version {
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

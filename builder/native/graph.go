package native

import (
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/modfile"
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

// loadGraph reads the go.mod files in the module cache.
func loadGraph(modCache string, pins []module.Version) *graph {
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
		list := readRequires(modCache, m)
		g.requires[m] = list
		for _, r := range list {
			g.by[r] = append(g.by[r], m)
		}
		queue = append(queue, list...)
	}
	return g
}

// readRequires returns the requirements of m; none if its go.mod is not there.
func readRequires(modCache string, m module.Version) []module.Version {
	path, err := module.EscapePath(m.Path)
	if err != nil {
		return nil
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return nil
	}
	file, err := os.Open(filepath.Join(modCache, "cache", "download", filepath.FromSlash(path), "@v", version+goModTail))
	if err != nil {
		return nil
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxGoMod))
	if err != nil {
		return nil
	}
	f, err := modfile.ParseLax(file.Name(), data, nil)
	if err != nil {
		return nil
	}
	list := make([]module.Version, len(f.Require))
	for i, r := range f.Require {
		list[i] = r.Mod
	}
	return list
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

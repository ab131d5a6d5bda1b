package native

import (
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
)

// maxSums bounds how many lines are remembered; one k6 has some five hundred.
const maxSums = 50_000

// sums are the go.sum lines of builds that succeeded, which the go command has checked
// against the checksum database. A build that starts with them does not look them up
// again, which is a third of the time that it takes to load the packages. They say
// nothing about which versions are chosen.
type sums struct {
	mu    sync.Mutex // guards lines
	lines map[string]struct{}
}

// known returns all lines, in the order of a go.sum.
func (s *sums) known() string {
	s.mu.Lock()
	lines := slices.Sorted(maps.Keys(s.lines))
	s.mu.Unlock()
	return strings.Join(lines, "")
}

// learn adds the lines of a go.sum.
func (s *sums) learn(goSum string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines == nil || len(s.lines) > maxSums {
		s.lines = make(map[string]struct{})
	}
	for line := range strings.Lines(goSum) {
		s.lines[line] = struct{}{}
	}
}

func (s *sums) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
}

// needed returns the lines of a go.sum that the go command needs for the go.mod of ws: the
// hashes of the go.mod files that count, and of the modules that are linked.
func (e *Engine) needed(ws *workspace, goSum string, info *debug.BuildInfo) (string, error) {
	roots, err := ws.requires()
	if err != nil {
		return "", err
	}
	s := &selection{mods: e.mods, roots: roots}
	if err := s.choose(); err != nil {
		return "", err
	}
	linked := make(map[module.Version]bool, len(info.Deps))
	for _, dep := range info.Deps {
		linked[module.Version{Path: dep.Path, Version: dep.Version}] = true
	}
	var b strings.Builder
	for line := range strings.Lines(goSum) {
		m, ofGoMod := sumOf(line)
		if ofGoMod && s.loaded[m] || !ofGoMod && linked[m] {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

// sumOf returns what a line of a go.sum is the hash of: a module or its go.mod.
func sumOf(line string) (m module.Version, ofGoMod bool) {
	words := strings.Fields(line)
	if len(words) != 3 {
		return module.Version{}, false
	}
	version, ofGoMod := strings.CutSuffix(words[1], "/go.mod")
	return module.Version{Path: words[0], Version: version}, ofGoMod
}

package native

import (
	"maps"
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

// only returns the lines of a go.sum that are about modules of the graph.
func (g *graph) only(goSum string) string {
	var b strings.Builder
	for line := range strings.Lines(goSum) {
		words := strings.Fields(line)
		if len(words) == 3 && g.has(module.Version{Path: words[0], Version: strings.TrimSuffix(words[1], "/go.mod")}) {
			b.WriteString(line)
		}
	}
	return b.String()
}

package native

import (
	"context"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/mod/module"

	"k6x/internal/gomod"
)

// maxSums bounds how much is remembered; one k6 has some five hundred lines.
const maxSums = 8 << 20 // bytes

// sums are the go.sum lines of builds that succeeded, which the go command has checked
// against the checksum database. A build that starts with them does not look them up
// again, which is a third of the time that it takes to load the packages. They say
// nothing about which versions are chosen.
type sums struct {
	mu   sync.Mutex // guards text
	text string
}

// lines returns all lines, in the order of a go.sum.
func (s *sums) lines() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// learn adds the lines of a go.sum.
func (s *sums) learn(goSum string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = gomod.JoinSums(s.text, goSum, maxSums)
}

func (s *sums) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = ""
}

// needed returns the lines of a go.sum that the go command needs for the go.mod of ws: the
// hashes of the go.mod files that count, and of the modules that are linked.
func (e *Engine) needed(ws *Workspace, goSum string, info *debug.BuildInfo) (string, error) {
	roots, err := ws.requires()
	if err != nil {
		return "", err
	}
	load := gomod.Loader{Read: ws.goMod}
	graph, err := load.Load(context.Background(), roots)
	if err != nil {
		return "", err
	}
	linked := make(map[module.Version]bool, len(info.Deps))
	for _, dep := range info.Deps {
		linked[module.Version{Path: dep.Path, Version: dep.Version}] = true
	}
	var b strings.Builder
	for line := range strings.Lines(goSum) {
		m, ofGoMod := gomod.ParseSum(line)
		if ofGoMod && graph.Files[m] != nil || !ofGoMod && linked[m] {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

package native

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"

	"k6x/builder/internal/gobuild"
	"k6x/internal/disk"
)

const (
	includesFile    = "includes-1" // the number is that of the rules
	maxIncludes     = 50_000       // lines of it
	maxIncludesRead = 16 << 20     // bytes
)

// includes are the module versions whose files were found to include nothing from outside, in memory and in a
// file to which several processes add lines. They are named by their sums: what never changes is looked at once.
type includes struct {
	file string

	mu      sync.Mutex // guards checked and the file
	checked map[string]bool
}

// has reports whether line was added.
func (s *includes) has(line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checked == nil {
		s.read()
	}
	return s.checked[line]
}

// read reads the file. A line that was torn is the sum of nothing. The caller holds mu.
func (s *includes) read() {
	s.checked = make(map[string]bool)
	data, _ := disk.ReadFile(s.file, maxIncludesRead) // as if there were none
	for line := range strings.Lines(string(data)) {
		if line, whole := strings.CutSuffix(line, "\n"); whole {
			s.checked[line] = true
		}
	}
}

// add adds lines. Each begins a line of its own, even after one that was torn.
func (s *includes) add(lines []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.checked) > maxIncludes { // it begins anew
		s.checked = make(map[string]bool)
		_ = os.Remove(s.file)
	}
	for _, line := range lines {
		s.checked[line] = true
	}
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + strings.Join(lines, "\n") + "\n")
	return errors.Join(err, f.Close())
}

// checkLinked returns an error if a module that is linked includes files from outside: of what they say
// something may be in the binary, which is not given out then.
func (e *Engine) checkLinked(ws *Workspace, b *gobuild.Blame, linked []*debug.Module) error {
	sums := make(map[module.Version]string, len(linked))
	for _, m := range linked {
		sums[module.Version{Path: m.Path, Version: m.Version}] = cmp.Or(m.Replace, m).Sum
	}
	return e.checkIncludes(ws, b, sums, true)
}

// checkOutput returns an error if a module that may have been compiled in ws includes files from outside: of
// what they say something may be in the output, which only the log gets then.
func (e *Engine) checkOutput(ws *Workspace, output string) error {
	err := e.checkModules(ws)
	if err != nil {
		e.Log.Warn("the output of a build is withheld", "path", ws.recipe.Path(), "reason", err, "output", tailOf(output))
	}
	return err
}

// checkModules is checkOutput without a word to the log.
func (e *Engine) checkModules(ws *Workspace) error {
	used, err := ws.requires() // the go command lists all that it takes packages from, before it compiles any
	if err != nil {
		return gobuild.FileError("reading the module versions", err)
	}
	sums := make(map[module.Version]string, len(used))
	for _, m := range used {
		sums[m] = e.mods.Sum(ws.replaced.Module(m))
	}
	return e.checkIncludes(ws, e.newBlame(ws), sums, false)
}

// checkIncludes checks modules of ws that were not checked before. A module whose files are not here is an
// error if they have to be, unless others vouch for it: of what was not compiled here nothing of this machine can be in the binary.
func (e *Engine) checkIncludes(ws *Workspace, b *gobuild.Blame, sums map[module.Version]string, here bool) error {
	var checked []string
	modules := slices.Collect(maps.Keys(sums))
	module.Sort(modules)
	for _, m := range modules {
		line := fmt.Sprintf("%s %s", m, sums[m])
		if ws.recipe.Cgo {
			line += " cgo"
		}
		if sums[m] != "" && e.includes.has(line) || ws.replaced.Dir(m) != "" { // a directory is its owner's
			continue
		}
		root, err := e.mods.Extracted(ws.replaced.Module(m))
		if err != nil && (!here || ws.vouched != nil) {
			continue
		}
		if err == nil {
			err = b.CheckIncludes(m, root)
		}
		if err != nil {
			return gobuild.FileError("reading the files of a module", err)
		}
		if sums[m] != "" {
			checked = append(checked, line)
		}
	}
	if checked == nil {
		return nil
	}
	if err := e.includes.add(checked); err != nil {
		e.Log.Warn("it is not kept which modules were checked for includes", "error", err)
	}
	return nil
}

package gobuild

import (
	"strings"
	"sync"

	"golang.org/x/mod/module"

	"k6x/event"
)

// manyPackages have to be compiled before it is worth half a second to find out how many
// there are in all.
const manyPackages = 10

const maxCompiled = 20_000 // packages that are counted

// mainPackage is what the go command calls the main package. It is
// compiled last; what comes then is the link.
const mainPackage = "k6"

// Downloading is how the go command begins a line that names a module and its version, which it fetches.
const Downloading = "go: downloading "

// Progress reports how far a build is by what go build -v prints. No step and no count goes back. It
// may be nil, if no progress is wanted. Make one with [Watch].
type Progress struct {
	Many chan struct{} // closed when many packages have been compiled

	sink event.Sink

	mu       sync.Mutex // guards what is below and lets one report out at a time
	step     event.Step
	fetched  int64
	compiled map[string]bool
	total    int64 // packages to compile; 0 if that is not known
}

// Watch returns the progress of a build that goes to sink, nil if there is no sink.
func Watch(sink event.Sink) *Progress {
	if sink == nil {
		return nil
	}
	sink.Progress(event.Preparing, "", 0, 0)
	return &Progress{sink: sink, Many: make(chan struct{}), compiled: make(map[string]bool)}
}

// Flags returns those for go build, which change no bytes.
func (p *Progress) Flags() []string {
	if p == nil {
		return nil
	}
	return []string{"-v"}
}

// report sends how far the build is, unless the build is beyond that. The caller holds mu.
func (p *Progress) report(step event.Step, item string, done, total int64) {
	if step < p.step {
		return
	}
	p.step = step
	p.sink.Progress(step, item, done, total)
}

// Line reads a line that was printed.
func (p *Progress) Line(line string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if item, ok := strings.CutPrefix(line, Downloading); ok {
		p.fetched++
		p.report(event.Fetching, item, p.fetched, 0)
		return
	}
	switch {
	case line == mainPackage:
		p.report(event.Linking, "", 0, 0)
	case !p.compiled[line] && module.CheckImportPath(line) == nil && len(p.compiled) < maxCompiled:
		p.compiled[line] = true
		if len(p.compiled) == manyPackages {
			close(p.Many)
		}
		p.report(event.Compiling, line, int64(len(p.compiled)), p.total)
	}
}

// Linking says that the link begins.
func (p *Progress) Linking() { p.Line(mainPackage) }

// Checking says that the binary is there, and what is in it is compared with what was asked for.
func (p *Progress) Checking() {
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.report(event.Checking, "", 0, 0)
	}
}

// Count learns which packages were not compiled at some moment after the build began.
func (p *Progress) Count(stale []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = int64(len(p.compiled))
	for _, path := range stale {
		if path != mainPackage && !p.compiled[path] {
			p.total++
		}
	}
	p.report(event.Compiling, "", int64(len(p.compiled)), p.total)
}

// Without returns what the go command printed, without the lines that are there only because progress is wanted: packages, and
// how the version control of a module was found, or failed.
func (p *Progress) Without(text string) string {
	if p == nil {
		return text
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for line := range strings.Lines(text) {
		if name := strings.TrimSpace(line); name != mainPackage && !p.compiled[name] && !strings.HasPrefix(line, `get "`) && !strings.HasPrefix(line, "# cd ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

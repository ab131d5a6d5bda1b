package native

import (
	"context"
	"strings"
	"sync"

	"golang.org/x/mod/module"

	"k6x/event"
)

// manyPackages have to be compiled before it is worth half a second to find out how many
// there are in all.
const manyPackages = 10

const (
	maxCompiled = 20_000  // packages that are counted
	maxStale    = 1 << 20 // bytes of the names of all packages to compile
)

// mainPackage is what the go command calls the main package of a workspace. It is
// compiled last; what comes then is the link.
const mainPackage = "k6"

const downloading = "go: downloading " // a module and its version

// progress reports how far a build is. No step and no count goes back. It
// may be nil, if no progress is wanted.
type progress struct {
	sink event.Sink
	many chan struct{} // closed when manyPackages have been compiled

	mu       sync.Mutex // guards what is below and lets one report out at a time
	step     event.Step
	fetched  int64
	compiled map[string]bool
	total    int64 // packages to compile; 0 if that is not known
}

// watch returns the progress of a build that goes to sink, nil if there is no sink.
func watch(sink event.Sink) *progress {
	if sink == nil {
		return nil
	}
	sink.Progress(event.Preparing, "", 0, 0)
	return &progress{sink: sink, many: make(chan struct{}), compiled: make(map[string]bool)}
}

// report sends how far the build is, unless the build is beyond that. The caller holds mu.
func (p *progress) report(step event.Step, item string, done, total int64) {
	if step < p.step {
		return
	}
	p.step = step
	p.sink.Progress(step, item, done, total)
}

// line reads a line that go build -v prints.
func (p *progress) line(line string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if item, ok := strings.CutPrefix(line, downloading); ok {
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
			close(p.many)
		}
		p.report(event.Compiling, line, int64(len(p.compiled)), p.total)
	}
}

// linking says that the link begins.
func (p *progress) linking() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report(event.Linking, "", 0, 0)
}

// count learns which packages were not compiled at some moment after the build began.
func (p *progress) count(stale []string) {
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

// isNews reports whether the go command printed a line only because progress is wanted.
func (p *progress) isNews(line string) bool {
	if p == nil {
		return false
	}
	// How the version control of a module was found, or failed.
	if strings.HasPrefix(line, `get "`) || strings.HasPrefix(line, "# cd ") {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line = strings.TrimSpace(line)
	return line == mainPackage || p.compiled[line]
}

// count finds out how many packages the go build in ws compiles, once they are many. The
// function that it returns ends that.
func (e *Engine) count(ctx context.Context, ws *Workspace) (stop func()) {
	if ws.progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var counting sync.WaitGroup
	counting.Go(func() {
		select {
		case <-ws.progress.many: // by then the go command has written go.mod and go.sum
		case <-ctx.Done():
			return
		}
		args := append([]string{"list", "-mod=readonly"}, ws.recipe.Flags...)
		out, err := ws.Go(ctx, maxStale, append(args, "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", ".")...)
		if err != nil {
			e.log.Debug("it is not known how many packages there are to compile", "path", ws.recipe.Path(), "reason", err)
			return
		}
		ws.progress.count(strings.Fields(string(out)))
	})
	return func() {
		cancel()
		counting.Wait()
	}
}

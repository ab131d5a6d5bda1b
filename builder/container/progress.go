package container

import (
	"strings"

	"k6x/event"
)

// watcher reports what the go command says that it does.
type watcher struct {
	report   event.Sink // nil: no progress is wanted
	fetched  int64
	compiled int64
}

// flags returns those that make the go command say what it compiles.
func (w *watcher) flags() []string {
	if w.report == nil {
		return nil
	}
	return []string{"-v"}
}

// line reads a line of the go command's output.
func (w *watcher) line(line string) {
	if item, ok := strings.CutPrefix(line, "go: downloading "); ok {
		w.fetched++
		w.report.Progress(event.Fetching, item, w.fetched, 0)
		return
	}
	if w.report == nil || !isPackage(line) {
		return
	}
	w.compiled++
	if line == mainPackage {
		w.report.Progress(event.Linking, "", 0, 0)
		return
	}
	w.report.Progress(event.Compiling, line, w.compiled, 0)
}

// mainPackage is what the go command calls the package that it compiles last.
const mainPackage = "k6"

// isPackage reports whether a line is the name of a package that is being compiled.
func isPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " \t:")
}

// withoutPackages returns the output without what the go command said because of flags: packages, and
// how it found or did not find a module's repository.
func (w *watcher) withoutPackages(text string) string {
	if w.report == nil {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !isPackage(strings.TrimSuffix(line, "\n")) && !strings.HasPrefix(line, `get "`) && !strings.HasPrefix(line, "# cd ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

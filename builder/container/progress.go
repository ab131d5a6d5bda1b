package container

import (
	"context"
	"strings"

	"k6x/builder"
)

// watcher tells whoever watches a build what the go command says that it does.
type watcher struct {
	ctx      context.Context // of the build that is watched
	fetched  int64
	compiled int64
}

// flags returns those that make the go command say what it compiles.
func (w *watcher) flags() []string {
	if !builder.Watched(w.ctx) {
		return nil
	}
	return []string{"-v"}
}

// line reads a line of the go command's output.
func (w *watcher) line(line string) {
	if what, ok := strings.CutPrefix(line, "go: downloading "); ok {
		w.fetched++
		builder.Report(w.ctx, builder.Progress{Step: builder.Fetching, What: what, Done: w.fetched})
		return
	}
	if !builder.Watched(w.ctx) || !isPackage(line) {
		return
	}
	w.compiled++
	if line == mainPackage {
		builder.Report(w.ctx, builder.Progress{Step: builder.Linking})
		return
	}
	builder.Report(w.ctx, builder.Progress{Step: builder.Compiling, What: line, Done: w.compiled})
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
	if !builder.Watched(w.ctx) {
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

package native

import (
	"path/filepath"
	"slices"

	"k6x/builder/internal/gobuild"
)

// clean returns the output of a build in ws as strangers may read it: without the
// directories of this machine, credentials, control characters and news of downloads, so
// that positions read as path@version/file.go:line:column.
func (e *Engine) clean(text string, ws *Workspace) string {
	sep := string(filepath.Separator)
	type dir struct{ path, as string }
	dirs := []dir{{e.Dirs.ModCache, ""}, {ws.dir, ""}, {e.Dir, gobuild.Outside + sep}, {e.Tool.Root, "GOROOT" + sep}}
	for _, r := range ws.replaced {
		dirs = append(dirs, dir{r.Dir, ""})
	}
	slices.SortFunc(dirs, func(a, b dir) int { return len(b.path) - len(a.path) }) // one may be in another
	var pairs []string
	for _, dir := range dirs {
		if dir.path == "" {
			continue
		}
		// The go command writes a path relative to the workspace where that is shorter.
		if rel, err := filepath.Rel(ws.dir, dir.path); err == nil && rel != "." {
			pairs = append(pairs, rel+sep, dir.as)
		}
		pairs = append(pairs, dir.path+sep, dir.as)
	}
	return gobuild.Clean(ws.progress.Without(text), pairs...)
}

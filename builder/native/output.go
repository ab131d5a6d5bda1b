package native

import "k6x/builder/internal/gobuild"

// clean returns the output of a build in ws as strangers may read it: without the
// directories of this machine, credentials, control characters and news of downloads, so
// that positions read as path@version/file.go:line:column.
func (e *Engine) clean(text string, ws *Workspace) string {
	places := []gobuild.Place{{Dir: e.Dirs.ModCache}, {Dir: ws.dir}, {Dir: e.Dir, As: gobuild.Outside}, {Dir: e.Tool.Root, As: "GOROOT"}}
	for _, r := range ws.replaced {
		places = append(places, gobuild.Place{Dir: r.Dir})
	}
	return gobuild.Clean(ws.progress.Without(text), ws.dir, places...)
}

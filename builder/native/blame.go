package native

import (
	"context"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/module"

	"k6x/builder/internal/gobuild"
	"k6x/internal/gomod"
)

// maxSources bounds the files that are read to find an import.
const maxSources = 20_000

// newBlame returns what finds out which module is at fault for a failure in ws, from
// the module cache.
func (e *Engine) newBlame(ws *Workspace) *gobuild.Blame {
	load := gomod.Loader{Whole: true, Read: ws.replaced.Reader(e.mods)}
	graph, _ := load.Load(context.Background(), gobuild.Pins(ws.recipe)) // of one that is too large there is a part
	b := gobuild.NewBlame(ws.recipe, graph)
	b.Replaced = ws.replaced
	b.Unreached = e.Tool.Egress.Explain
	b.Sources = e.sources
	b.Root = func(m module.Version) (string, error) { return ws.replaced.Root(e.mods, m) }
	left := maxSources
	b.Imports = func(m module.Version, pkg string) bool {
		root, err := b.Root(m)
		return err == nil && imports(root, pkg, &left)
	}
	return b
}

// imports reports whether a file below root, but for tests, imports pkg. It counts down left
// for each file and gives up at 0.
func imports(root, pkg string, left *int) bool {
	found := false
	_ = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil, *left <= 0:
			return fs.SkipAll
		case entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), "_")):
			return fs.SkipDir
		case !entry.Type().IsRegular(), !strings.HasSuffix(file, ".go"), strings.HasSuffix(file, "_test.go"):
			return nil
		}
		*left--
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return nil
		}
		for _, spec := range f.Imports {
			if imported, err := strconv.Unquote(spec.Path.Value); err == nil && imported == pkg {
				found = true
				return fs.SkipAll
			}
		}
		return nil
	})
	return found
}

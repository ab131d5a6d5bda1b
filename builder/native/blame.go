package native

import (
	"context"

	"golang.org/x/mod/module"

	"k6x/builder/internal/gobuild"
	"k6x/internal/gomod"
)

// newBlame returns what finds out which module is at fault for a failure in ws, from
// the module cache.
func (e *Engine) newBlame(ws *Workspace) *gobuild.Blame {
	load := gomod.Loader{Whole: true, Read: ws.goMod}
	graph, _ := load.Load(context.Background(), gobuild.Pins(ws.recipe)) // of one that is too large there is a part
	b := gobuild.NewBlame(ws.recipe, graph)
	b.Replaced = ws.replaced
	b.Unreached = e.Tool.Egress.Explain
	b.Sources = e.sources
	b.Root = func(m module.Version) (string, error) { return ws.replaced.Root(e.mods, m) }
	return b
}

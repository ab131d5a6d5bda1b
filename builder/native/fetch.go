package native

import (
	"context"
	"os"
	"os/exec"
	"slices"

	"k6x/builder/internal/gobuild"
	"k6x/internal/cage"
)

// hasPins reports whether the modules that were asked for are in the module cache, so that it is worth while to
// build without fetching anything.
func (e *Engine) hasPins(ws *Workspace) bool {
	for _, m := range gobuild.Pins(ws.recipe) {
		if r, ok := ws.replaced[m.Path]; ok {
			if r.Dir != "" {
				continue
			}
			m = r.With
		}
		root, err := e.mods.Root(m)
		if err != nil {
			return false
		}
		if _, err := os.Stat(root); err != nil {
			return false
		}
	}
	return true
}

// fetch has the go command load the packages of the workspace, which fetches the modules that they need and checks their
// sums, and compiles nothing.
func (e *Engine) fetch(ctx context.Context, ws *Workspace) outcome {
	return e.run(ctx, ws, func(ctx context.Context) (*exec.Cmd, func() error) {
		cmd := e.command(ctx, ws, e.cfg.Tool.Path, gobuild.LoadArguments(ws.recipe, ws.locked)...)
		return cmd, func() error { return e.cfg.Cage.Run(cmd, e.fetching(ws.dir, ws.replaced)) }
	})
}

// RunFetching runs a go command that fetches modules, with the environment of [Engine.Env], and may change dir besides Go's caches.
func (e *Engine) RunFetching(cmd *exec.Cmd, dir string) error {
	return e.cfg.Cage.Run(cmd, e.fetching(dir, nil))
}

// fetching is the policy for what fetches modules in dir, where some are replaced.
func (e *Engine) fetching(dir string, replaced replacements) cage.Policy {
	p := e.cfg.Tool.FetchPolicy(e.dirs, dir)
	p.Read = slices.Concat(p.Read, replaced.dirs(), e.cfg.Personal)
	return p
}

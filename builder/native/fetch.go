package native

import (
	"context"
	"os"
	"os/exec"

	"golang.org/x/mod/module"

	"k6x/builder/internal/gobuild"
	"k6x/internal/cage"
)

// hasPins reports whether the modules that were asked for are in the module cache, so that it is worth while to
// build without fetching anything.
func (e *Engine) hasPins(ws *workspace) bool {
	for _, m := range gobuild.Pins(ws.recipe) {
		if r, ok := ws.replaced[m.Path]; ok {
			if r.Dir != "" {
				continue
			}
			m = r.With
		}
		if !e.isExtracted(m) {
			return false
		}
	}
	return true
}

func (e *Engine) isExtracted(m module.Version) bool {
	_, dir, err := downloaded(e.dirs.ModCache, m, "")
	if err != nil {
		return false
	}
	_, err = os.Stat(dir)
	return err == nil
}

// fetch has the go command load the packages of the workspace, which fetches the modules that they need and checks their
// sums, and compiles nothing.
func (e *Engine) fetch(ctx context.Context, ws *workspace) outcome {
	return e.run(ctx, ws, func(ctx context.Context) (*exec.Cmd, func() error) {
		cmd := e.fetcher(ctx, ws, gobuild.LoadArguments(ws.recipe, ws.locked)...)
		return cmd, func() error { return e.cfg.Cage.Run(cmd, e.fetching(ws)) }
	})
}

// fetcher returns a go command in the workspace that may fetch modules.
func (e *Engine) fetcher(ctx context.Context, ws *workspace, args ...string) *exec.Cmd {
	return e.command(ctx, ws, e.cfg.Tool.Path, args...)
}

// RunFetching runs a go command that fetches modules, with the environment of [Engine.Env], and may change dir besides Go's caches.
func (e *Engine) RunFetching(cmd *exec.Cmd, dir string) error {
	p := e.cfg.Tool.FetchPolicy(e.dirs, dir)
	p.Read = append(p.Read, e.cfg.Personal...)
	return e.cfg.Cage.Run(cmd, p)
}

// fetching is the policy for what fetches the modules of ws.
func (e *Engine) fetching(ws *workspace) cage.Policy {
	p := e.cfg.Tool.FetchPolicy(e.dirs, ws.dir)
	p.Read = append(p.Read, ws.replaced.dirs()...)
	p.Read = append(p.Read, e.cfg.Personal...)
	return p
}

package native

import (
	"context"
	"os/exec"

	"k6x"
	"k6x/internal/cage"
)

// BuildCache is Go's build cache as machines share it. What it gives to the go command is kept in the
// build cache of the engine, too.
type BuildCache interface {
	// Begin begins a build. What it compiles is for others only if share.
	Begin(recipe k6x.Recipe, share bool) (CacheSession, error)
}

// CacheSession serves the go commands of one build.
type CacheSession interface {
	// Attach makes a go command use the session, and lets the policy have what that takes. Release is called
	// when the command has ended.
	Attach(cmd *exec.Cmd, p *cage.Policy) (release func(), err error)
	Err() error // why something that was compiled could not be kept, if so
	Close()
}

// noSession is that of an engine which shares nothing.
type noSession struct{}

func (noSession) Attach(*exec.Cmd, *cage.Policy) (func(), error) { return func() {}, nil }
func (noSession) Err() error                                     { return nil }
func (noSession) Close()                                         {}

// shareCache lets the go commands in ws use the shared build cache until ws is removed. Without it they compile more.
func (e *Engine) shareCache(ctx context.Context, ws *Workspace, share bool) {
	if e.cfg.BuildCache == nil || ws.cache != (noSession{}) || ctx.Err() != nil {
		return
	}
	session, err := e.cfg.BuildCache.Begin(ws.recipe, share)
	if err != nil {
		e.Log.Warn("a build goes without the shared build cache", "path", ws.recipe.Path(), "error", err)
		return
	}
	ws.cache = session
}

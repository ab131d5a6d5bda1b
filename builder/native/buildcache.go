package native

import (
	"context"
	"errors"
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

	// Ahead begins to fetch what builds like this one needed.
	Ahead()
	// Load returns the note of a name, as some machine has written it. Any error is a miss.
	Load(ctx context.Context, name string) ([]byte, error)
	// Update writes the note of a name as change makes it of the one that is there, or of nil, if this machine writes to the cache.
	Update(ctx context.Context, name string, change func(old []byte) ([]byte, error)) error
	// Fetch brings outputs of compilations, named by their SHA-256, to the build cache of the engine, as far as others have them.
	Fetch(ctx context.Context, outputs []string) error
}

// noSession is that of an engine which shares nothing.
type noSession struct{}

func (noSession) Attach(*exec.Cmd, *cage.Policy) (func(), error) { return func() {}, nil }
func (noSession) Err() error                                     { return nil }
func (noSession) Close()                                         {}
func (noSession) Ahead()                                         {}
func (noSession) Load(context.Context, string) ([]byte, error)   { return nil, errNoSession }
func (noSession) Fetch(context.Context, []string) error          { return errNoSession }
func (noSession) Update(context.Context, string, func([]byte) ([]byte, error)) error {
	return nil
}

var errNoSession = errors.New("no build cache is shared")

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

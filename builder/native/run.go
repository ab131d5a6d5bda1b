package native

import (
	"context"
	"errors"
	"os/exec"
	"slices"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/builder/internal/process"
)

const maxOutput = 1 << 20 // bytes kept of what the go command prints

// unpinned says that the go command had to look for a module with a package that no
// go.mod provides.
type unpinned struct{ pkg string }

func (u unpinned) Error() string { return "no go.mod provides package " + u.pkg }

var errTimeout = errors.New("the build's time is up")

// compile runs go build in the workspace. It kills it as soon as it looks for a module
// that nobody asked for.
func (e *Engine) compile(ctx context.Context, ws *workspace) error {
	timed, stop := context.WithTimeoutCause(ctx, e.cfg.Timeout, errTimeout)
	defer stop()
	running, cancel := context.WithCancelCause(timed)
	defer cancel(nil)

	out := &process.Output{Max: maxOutput, Line: func(line string) {
		if pkg, ok := gobuild.Unpinned(line); ok {
			cancel(unpinned{pkg})
		}
		ws.progress.line(line)
	}}
	cmd := e.command(running, ws)
	cmd.Stdout, cmd.Stderr = out, out
	if e.cfg.Confine != nil {
		if err := e.cfg.Confine(cmd); err != nil {
			return k6x.Errorf(k6x.Internal, "something went wrong while starting the build").WithCause(err)
		}
	}
	stopCounting := e.count(running, ws)
	err := process.Run(cmd)
	stopCounting()
	cause := context.Cause(running)
	missing, unpinned := errors.AsType[unpinned](cause)
	if err == nil && !unpinned {
		return nil
	}
	text := e.clean(out.String(), ws)
	if err := e.checkOutput(ws, text); err != nil {
		return err
	}
	switch {
	case unpinned:
		return e.newBlame(ws).ExplainUnpinned(missing.pkg, text)
	case ctx.Err() != nil:
		return gobuild.Stopped(ctx, err)
	case errors.Is(cause, errTimeout):
		e := k6x.Errorf(k6x.Timeout, "the build took longer than %v", e.cfg.Timeout).
			WithHint("Try again: what was compiled is kept, so that the next build goes on from there.").WithCause(err)
		return gobuild.WithOutput(e, text)
	}
	if err := ws.notKept(); err != nil {
		return err
	}
	var used []module.Version
	if !ws.locked {
		used, _ = ws.requires()
	}
	return e.newBlame(ws).Explain(used, text, err, process.Killed(err))
}

// command returns go build for the workspace.
func (e *Engine) command(ctx context.Context, ws *workspace) *exec.Cmd {
	var more []string
	if ws.progress != nil {
		more = []string{"-v"} // which changes no bytes
	}
	return e.program(ctx, ws, e.cfg.Tool.Path, gobuild.Arguments(ws.recipe, ws.locked, more...)...)
}

// program returns a command in the workspace, with the environment of the recipe.
func (e *Engine) program(ctx context.Context, ws *workspace, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = ws.dir
	dirs := e.dirs
	dirs.Temp = ws.temp()
	cmd.Env = e.cfg.Tool.Env(dirs, append([]string{"PWD=" + ws.dir}, slices.Concat(gobuild.Env(ws.recipe), ws.cacheEnv)...)...)
	return cmd
}

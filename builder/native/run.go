package native

import (
	"context"
	"errors"
	"os/exec"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/internal/cage"
)

const maxOutput = 1 << 20 // bytes kept of what the go command prints

// unpinned says that the go command had to look for a module with a package that no
// go.mod provides.
type unpinned struct{ pkg string }

func (u unpinned) Error() string { return "no go.mod provides package " + u.pkg }

var errTimeout = errors.New("the build's time is up")

// compile runs go build in the workspace, without a network. If modules are missing for it, they are fetched, and it is
// run again.
func (e *Engine) compile(ctx context.Context, ws *Workspace) error {
	timed, stop := context.WithTimeoutCause(ctx, e.cfg.Timeout, errTimeout)
	defer stop()
	if e.hasPins(ws) {
		if done := e.goBuild(timed, ws); !done.unloaded() {
			return e.explain(ctx, ws, done)
		}
	}
	if done := e.fetch(timed, ws); done.err != nil || done.cause != nil {
		return e.explain(ctx, ws, done)
	}
	return e.explain(ctx, ws, e.goBuild(timed, ws))
}

// outcome is what came of one go command.
type outcome struct {
	text  string // that it printed
	err   error
	cause error // why it was stopped; nil if it was not
}

// unloaded reports whether the packages could not be loaded, as when a module is missing. So nothing was compiled.
func (o outcome) unloaded() bool {
	_, missing := errors.AsType[unpinned](o.cause)
	_, exceeded := errors.AsType[*cage.Exceeded](o.err)
	return missing || o.err != nil && o.cause == nil && !exceeded && !cage.Killed(o.err) && !gobuild.Compiled(o.text)
}

// goBuild runs go build in the workspace.
func (e *Engine) goBuild(ctx context.Context, ws *Workspace) outcome {
	var more []string
	if ws.progress != nil {
		more = []string{"-v"} // which changes no bytes
	}
	return e.run(ctx, ws, func(ctx context.Context) (*exec.Cmd, func() error) {
		cmd := e.program(ctx, ws, e.cfg.Tool.Path, gobuild.Arguments(ws.recipe, ws.locked, more...)...)
		return cmd, func() error { return e.runIn(ws, cmd) }
	})
}

// run runs the go command that prepare returns. It kills it as soon as it looks for a module that is in no go.mod.
func (e *Engine) run(ctx context.Context, ws *Workspace, prepare func(context.Context) (cmd *exec.Cmd, run func() error)) outcome {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &cage.Output{Max: maxOutput, Line: func(line string) {
		if pkg, ok := gobuild.Unpinned(line); ok {
			cancel(unpinned{pkg})
		}
		ws.progress.line(line)
	}}
	cmd, run := prepare(running)
	cmd.Stdout, cmd.Stderr = out, out
	stopCounting := e.count(running, ws)
	err := run()
	stopCounting()
	done := outcome{text: out.String(), err: err}
	if running.Err() != nil {
		done.cause = context.Cause(running)
	}
	return done
}

// explain returns the error of a go command that failed, nil if it did not. Ctx is that of the build.
func (e *Engine) explain(ctx context.Context, ws *Workspace, done outcome) error {
	missing, unpinned := errors.AsType[unpinned](done.cause)
	if done.err == nil && !unpinned {
		return nil
	}
	text := e.clean(done.text, ws)
	if err := e.checkOutput(ws, text); err != nil {
		return err
	}
	switch exceeded, _ := errors.AsType[*cage.Exceeded](done.err); {
	case unpinned:
		return e.newBlame(ws).ExplainUnpinned(missing.pkg, text)
	case ctx.Err() != nil:
		return gobuild.Stopped(ctx, done.err)
	case errors.Is(done.cause, errTimeout):
		err := k6x.Errorf(k6x.Timeout, "the build took longer than %v", e.cfg.Timeout).
			WithHint("Try again: what was compiled is kept, so that the next build goes on from there.").WithCause(done.err)
		return gobuild.WithOutput(err, text)
	case exceeded != nil:
		return e.newBlame(ws).TooMuch(exceeded, text)
	}
	if err := ws.notKept(); err != nil {
		return err
	}
	if exceeded := e.cfg.Cage.Limits().Met(done.text); exceeded != nil {
		return e.newBlame(ws).TooMuch(exceeded, text)
	}
	var used []module.Version
	if !ws.locked {
		used, _ = ws.requires()
	}
	return e.newBlame(ws).Explain(used, text, done.err, cage.Killed(done.err))
}

// program returns a command in the workspace, with the environment of the recipe. It has no network, and what it lacks
// it does not look for.
func (e *Engine) program(ctx context.Context, ws *Workspace, path string, args ...string) *exec.Cmd {
	cmd := e.command(ctx, ws, path, args...)
	cmd.Env = append(cmd.Env, "GOPROXY=off")
	return cmd
}

func (e *Engine) command(ctx context.Context, ws *Workspace, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = ws.dir
	dirs := e.dirs
	dirs.Temp = ws.Temp()
	cmd.Env = e.cfg.Tool.Env(dirs, append([]string{"PWD=" + ws.dir}, gobuild.Env(ws.recipe)...)...)
	return cmd
}

// compiling is the policy for what compiles and links in ws.
func (e *Engine) compiling(ws *Workspace) cage.Policy {
	p := e.cfg.Tool.CompilePolicy(e.dirs, ws.dir)
	p.Read = append(p.Read, ws.replaced.dirs()...)
	return p
}

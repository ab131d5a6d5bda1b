package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/internal/cage"
	"k6x/internal/gomod"
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
		// It left a go.mod and a go.sum that lack what it could not find: with them, versions would be others.
		if err := ws.Reset(); err != nil {
			return err
		}
	}
	if done := e.fetch(timed, ws); done.err != nil || done.cause != nil {
		return e.offline(ws, done.text, e.explain(ctx, ws, done))
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
	if ws.live != nil {
		ws.live.All = ws.replaced != nil // the user's own
	}
	return e.run(ctx, ws, ws.live, func(ctx context.Context) (*exec.Cmd, func() error) {
		cmd := e.program(ctx, ws, e.Tool.Path, gobuild.Arguments(ws.recipe, ws.locked, ws.progress.Flags()...)...)
		return cmd, func() error { return e.runIn(ws, cmd) }
	})
}

// run runs the go command that prepare returns, of which live tells. It kills it as soon as it looks for a module that is in no go.mod.
func (e *Engine) run(ctx context.Context, ws *Workspace, live *gobuild.Live, prepare func(context.Context) (cmd *exec.Cmd, run func() error)) outcome {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &cage.Output{Max: maxOutput, Line: func(line string) {
		if pkg, ok := gobuild.Unpinned(line); ok {
			cancel(unpinned{pkg})
		}
		ws.progress.Line(line)
		live.Line(line)
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

// hasPins reports whether the modules that were asked for are in the module cache, so that it is worth while to
// build without fetching anything.
func (e *Engine) hasPins(ws *Workspace) bool {
	for _, m := range gobuild.Pins(ws.recipe) {
		root, err := ws.replaced.Root(e.mods, m)
		if err != nil {
			return false
		}
		if _, err := os.Stat(root); err != nil {
			return false
		}
	}
	return true
}

// offline returns err, the error of a go command that printed text. If it did not fetch because of GOPROXY=off, the error names the first
// of the modules that were asked for which is not in the module cache, and the versions that are.
func (e *Engine) offline(ws *Workspace, text string, err error) error {
	failure, ok := errors.AsType[*k6x.Error](err)
	if !ok || !strings.Contains(text, "disabled by GOPROXY=off") {
		return err
	}
	for _, m := range gobuild.Pins(ws.recipe) {
		root, rootErr := ws.replaced.Root(e.mods, m)
		if _, statErr := os.Stat(root); rootErr != nil || statErr == nil {
			continue
		}
		name, _, _ := strings.Cut(filepath.Base(root), "@")
		entries, _ := os.ReadDir(filepath.Dir(root)) // there may be none
		var had []string
		for _, entry := range entries {
			if other, version, ok := strings.Cut(entry.Name(), "@"); ok && other == name {
				had = append(had, version)
			}
		}
		gomod.SortVersions(had)
		failure.Message = fmt.Sprintf("%s is not at hand, and nothing is fetched: GOPROXY is off", m)
		failure.Hint = fmt.Sprintf("At hand: %s. %s", cmp.Or(strings.Join(had[:min(len(had), 5)], ", "), "no version of it"), failure.Hint)
		break
	}
	return err
}

// fetch has the go command load the packages of the workspace, which fetches the modules that they need and checks their
// sums, and compiles nothing.
func (e *Engine) fetch(ctx context.Context, ws *Workspace) outcome {
	return e.run(ctx, ws, nil, func(ctx context.Context) (*exec.Cmd, func() error) {
		cmd := e.command(ctx, ws, e.Tool.Path, gobuild.LoadArguments(ws.recipe, ws.locked)...)
		return cmd, func() error { return e.Cage.Run(cmd, e.fetching(ws)) }
	})
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
		return gobuild.TookTooLong(e.cfg.Timeout, text, done.err)
	case exceeded != nil:
		return e.newBlame(ws).TooMuch(exceeded, text)
	}
	if err := ws.notKept(); err != nil {
		return err
	}
	if exceeded := e.Cage.Limits().Met(done.text); exceeded != nil {
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
	return e.Command(ctx, ws.dir, ws.Temp(), path, args, gobuild.Env(ws.recipe))
}

// compiling is the policy for what compiles and links in ws.
func (e *Engine) compiling(ws *Workspace) cage.Policy {
	p := e.Tool.CompilePolicy(e.Dirs, ws.dir)
	p.Read = append(p.Read, ws.replaced.Dirs()...)
	return p
}

// fetching is the policy for what fetches modules in ws.
func (e *Engine) fetching(ws *Workspace) cage.Policy {
	p := e.FetchPolicy(ws.dir)
	p.Read = append(p.Read, ws.replaced.Dirs()...)
	return p
}

// maxStale bounds the names of all packages to compile.
const maxStale = 1 << 20 // bytes

// count finds out how many packages the go build in ws compiles, once they are many. The
// function that it returns ends that.
func (e *Engine) count(ctx context.Context, ws *Workspace) (stop func()) {
	if ws.progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var counting sync.WaitGroup
	counting.Go(func() {
		select {
		case <-ws.progress.Many: // by then the go command has written go.mod and go.sum
		case <-ctx.Done():
			return
		}
		args := append([]string{"list", "-mod=readonly"}, ws.recipe.Flags...)
		out, err := ws.Go(ctx, maxStale, append(args, "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", ".")...)
		if err != nil {
			e.Log.Debug("it is not known how many packages there are to compile", "path", ws.recipe.Path(), "reason", err)
			return
		}
		ws.progress.Count(strings.Fields(string(out)))
	})
	return func() {
		cancel()
		counting.Wait()
	}
}

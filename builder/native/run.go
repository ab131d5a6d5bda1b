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
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/internal/cage"
	"k6x/internal/gomod"
)

// Bounds on what the go command prints, in bytes.
const (
	maxOutput  = 1 << 20 // that is kept
	maxImports = 16 << 20
)

const importsTime = time.Minute // for finding which module imports a package that is missing

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
	if _, _, missing := e.missing(ws); !missing { // so it is worth while to build without fetching anything
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
	return e.run(ctx, ws, compiles, ws.live, gobuild.Arguments(ws.recipe, ws.locked, ws.progress.Flags()...))
}

// run runs a go command, of which live tells. It kills it as soon as it looks for a module that is in no go.mod.
func (e *Engine) run(ctx context.Context, ws *Workspace, does purpose, live *gobuild.Live, args []string) outcome {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &cage.Output{Max: maxOutput, Line: func(line string) {
		if pkg, ok := gobuild.Unpinned(line); ok {
			cancel(unpinned{pkg})
		}
		ws.progress.Line(line)
		live.Line(line)
	}}
	cmd := ws.command(running, does, e.Tool.Path, args...)
	cmd.Stdout, cmd.Stderr = out, out
	stopCounting := e.count(running, ws)
	err := ws.run(cmd, does)
	stopCounting()
	done := outcome{text: out.String(), err: err}
	if running.Err() != nil {
		done.cause = context.Cause(running)
	}
	return done
}

// missing returns the first of the modules that were asked for which is not in the module cache, if there is one, and where it would be.
func (e *Engine) missing(ws *Workspace) (m module.Version, root string, missing bool) {
	for _, m := range gobuild.Pins(ws.recipe) {
		root, err := ws.replaced.Root(e.mods, m)
		if err == nil {
			_, err = os.Stat(root)
		}
		if err != nil {
			return m, root, true
		}
	}
	return module.Version{}, "", false
}

// offline returns err, the error of a go command that printed text. If it did not fetch because of GOPROXY=off, the error names the first
// of the modules that were asked for which is not in the module cache, and the versions that are.
func (e *Engine) offline(ws *Workspace, text string, err error) error {
	failure, ok := errors.AsType[*k6x.Error](err)
	m, root, missing := e.missing(ws)
	if !ok || !missing || root == "" || !strings.Contains(text, "disabled by GOPROXY=off") {
		return err
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
	return err
}

// fetch has the go command load the packages of the workspace, which fetches the modules that they need and checks their
// sums, and compiles nothing.
func (e *Engine) fetch(ctx context.Context, ws *Workspace) outcome {
	return e.run(ctx, ws, fetches, nil, gobuild.LoadArguments(ws.recipe, ws.locked))
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
		b := e.newBlame(ws)
		ctx, cancel := context.WithTimeout(ctx, importsTime)
		defer cancel()
		b.Imports, _ = ws.Go(ctx, maxImports, gobuild.ImportsArguments...) // what it printed before it failed is of use
		return b.ExplainUnpinned(missing.pkg, text)
	case ctx.Err() != nil:
		return gobuild.Stopped(ctx, done.err)
	case errors.Is(done.cause, errTimeout):
		return gobuild.TookTooLong(e.cfg.Timeout, text, done.err)
	case exceeded != nil:
		return e.newBlame(ws).TooMuch(exceeded, text)
	}
	if err := ws.cache.Err(); err != nil { // for which the go command blames others
		return gobuild.FileError("keeping what was compiled", err)
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

// purpose is what a command in a workspace may do.
type purpose int

const (
	compiles purpose = iota // it compiles and links; it has no network, and what it lacks it does not look for
	fetches                 // it fetches modules, and runs no compiler
)

// command returns a command in the workspace, with the environment of the recipe, for [Workspace.run].
func (ws *Workspace) command(ctx context.Context, does purpose, path string, args ...string) *exec.Cmd {
	cmd := ws.engine.Command(ctx, ws.dir, ws.Temp(), path, args, gobuild.Env(ws.recipe))
	if does == compiles {
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
	return cmd
}

// run runs a command. A go command that compiles may use the shared build cache.
func (ws *Workspace) run(cmd *exec.Cmd, does purpose) error {
	e := ws.engine
	p := e.Tool.CompilePolicy(e.Dirs, ws.dir)
	if does == fetches {
		p = e.FetchPolicy(ws.dir)
	}
	p.Read = append(p.Read, ws.replaced.Dirs()...)
	if does == compiles && cmd.Path == e.Tool.Path {
		release, err := ws.cache.Attach(cmd, &p)
		if err != nil {
			e.Log.Warn("a build goes without the shared build cache", "path", ws.recipe.Path(), "error", err)
		} else {
			defer release()
		}
	}
	return e.Cage.Run(cmd, p)
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
		ws.progress.Count(strings.Fields(out))
	})
	return func() {
		cancel()
		counting.Wait()
	}
}

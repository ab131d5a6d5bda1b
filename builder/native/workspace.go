package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/event"
	"k6x/internal/cage"
	"k6x/internal/disk"
	"k6x/internal/gomod"
)

// Workspace is the directory of one build: the main module, temporary files and the binary. Make one with [Engine.Open]. Its
// methods are not for use at once.
type Workspace struct {
	engine  *Engine
	dir     string
	recipe  k6x.Recipe
	locked  bool // go.mod and go.sum are those of an earlier build
	started time.Time
	leave   func() // nil: it has been left

	cache CacheSession

	progress *gobuild.Progress    // nil: no progress is wanted
	live     *gobuild.Live        // nil as well
	replaced gobuild.Replacements // nil: no module is replaced

	vouched map[module.Version]*gomod.File // see Vouch; nil: for nothing
}

// Open returns a workspace for a job, to be closed by the caller. The main module has the versions of the lock or, if there is
// none, the pins. Until it is left or closed, the caches are not trimmed.
//
// Errors: those of [Engine.Build] for recipes that it does not follow; Internal, NoSpace; Canceled, Timeout if ctx ends.
func (e *Engine) Open(ctx context.Context, job builder.Job, report event.Sink) (*Workspace, error) {
	if err := gobuild.Check(job.Recipe, e.cfg.Cgo); err != nil {
		return nil, err
	}
	leave, err := e.Enter(ctx)
	if err != nil {
		return nil, err
	}
	ws, err := e.newWorkspace(job.Recipe, job.Lock)
	if err != nil {
		leave()
		return nil, gobuild.FileError("writing the main module", err)
	}
	ws.leave, ws.progress = leave, gobuild.Watch(report)
	if report != nil {
		ws.live = &gobuild.Live{
			Sink: report, Clean: func(line string) string { return e.clean(line, ws) },
			Check: func() error { return e.checkModules(ws) },
		}
	}
	return ws, nil
}

// newWorkspace writes the main module of a recipe into a new directory, with the lock or, if there is none, with the go.sum lines
// that are known.
func (e *Engine) newWorkspace(recipe k6x.Recipe, lock *k6x.Lock) (ws *Workspace, err error) {
	files, err := gobuild.Files(recipe, lock, e.sums.lines())
	if err != nil {
		return nil, err
	}
	dir, err := e.MakeTemp()
	if err != nil {
		return nil, err
	}
	ws = &Workspace{engine: e, dir: dir, recipe: recipe, locked: lock != nil, started: time.Now(), cache: noSession{}}
	defer func() {
		if err != nil {
			e.Remove(dir)
		}
	}()
	if err := os.Mkdir(ws.Temp(), 0o755); err != nil {
		return nil, err
	}
	return ws, ws.Write(files)
}

// Dir returns the directory of the main module.
func (ws *Workspace) Dir() string { return ws.dir }

// Temp returns the directory for temporary files, which is in that of the main module.
func (ws *Workspace) Temp() string { return filepath.Join(ws.dir, "tmp") }

// Output returns the name of the file that is the binary.
func (ws *Workspace) Output() string { return filepath.Join(ws.dir, gobuild.OutputName) }

// Write writes files of the main module, by name.
func (ws *Workspace) Write(files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(ws.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Reset makes the main module what it was before a build, unless it has a lock.
func (ws *Workspace) Reset() error {
	ws.vouched = nil
	if ws.locked {
		return nil
	}
	goMod, err := ws.replaced.GoMod(ws.recipe)
	if err != nil {
		return err
	}
	err = os.RemoveAll(ws.Output())
	if err == nil {
		err = ws.Write(map[string]string{"go.mod": goMod, "go.sum": ws.engine.sums.lines()})
	}
	if err != nil {
		return gobuild.FileError("writing the main module", err)
	}
	return nil
}

// Shared returns what the workspace has of the shared build cache, which it begins to use with the first call.
func (ws *Workspace) Shared(ctx context.Context) CacheSession {
	ws.engine.shareCache(ctx, ws, true)
	return ws.cache
}

// Vouch has the workspace link modules whose files need not be here, as others compiled them: these have found that they include only what is
// theirs. The go.mod files are those of modules that are not here either.
func (ws *Workspace) Vouch(goMods map[module.Version]*gomod.File) { ws.vouched = goMods }

// goMod returns the go.mod of a module; nil if it is not known.
func (ws *Workspace) goMod(ctx context.Context, m module.Version) (*gomod.File, error) {
	f, err := ws.replaced.Reader(ws.engine.mods)(ctx, m)
	if f == nil && err == nil {
		f = ws.vouched[m]
	}
	return f, err
}

// GoBuild has the go command make the binary. Errors are those of [Engine.Build].
func (ws *Workspace) GoBuild(ctx context.Context) error {
	e := ws.engine
	ws.Shared(ctx).Ahead()
	err := e.compile(ctx, ws)
	if err != nil && k6x.KindOf(err) == k6x.Forbidden { // a module that no database vouches for may have been released anew
		e.sums.forget()
		e.mods.Forget()
	}
	return err
}

// Inspect reads the binary, which is never run, and the go.mod that was used, and returns what they say if that is what the
// recipe asks for. Checked says that the go command has checked all lines of the go.sum, which later builds begin with then.
func (ws *Workspace) Inspect(checked bool) (k6x.Build, error) {
	ws.progress.Checking()
	b, info, err := ws.inspect()
	if err != nil {
		return k6x.Build{}, err
	}
	lock, err := ws.Lock()
	if err != nil {
		return k6x.Build{}, gobuild.FileError("reading the lock", err)
	}
	if !ws.locked {
		if checked {
			ws.engine.sums.learn(lock.GoSum)
		}
		if lock.GoSum, err = ws.engine.needed(ws, lock.GoSum, info); err != nil {
			return k6x.Build{}, gobuild.FileError("reading the module versions", err)
		}
	}
	build := gobuild.Report(info, lock)
	build.Warnings = b.Warnings()
	return build, nil
}

// inspect returns what the binary says, with what finds out which module is at fault.
func (ws *Workspace) inspect() (b *gobuild.Blame, info *debug.BuildInfo, err error) {
	var used []module.Version
	if !ws.locked {
		if used, err = ws.requires(); err != nil {
			return nil, nil, gobuild.FileError("reading the module versions", err)
		}
	}
	b = ws.engine.newBlame(ws)
	if info, err = b.Inspect(ws.Output(), used); err != nil {
		return nil, nil, err
	}
	return b, info, ws.engine.checkLinked(ws, b, info.Deps)
}

// Deliver gives the binary to w, after which the file may be gone, and completes what Inspect says of it. Digest is the hex SHA-256 of
// the binary, "" if that is not known yet.
func (ws *Workspace) Deliver(ctx context.Context, w io.Writer, build k6x.Build, digest string) (k6x.Build, error) {
	return gobuild.Deliver(ctx, w, ws.Output(), digest, ws.started, build)
}

// Linking reports that the binary is being linked.
func (ws *Workspace) Linking() { ws.progress.Linking() }

// Leave ends what a client sees of the build: nothing is reported any more, and the caches may be trimmed until Enter is called.
func (ws *Workspace) Leave() {
	ws.progress, ws.live = nil, nil
	if ws.leave != nil {
		ws.leave()
		ws.leave = nil
	}
}

// Enter undoes Leave, but for the reports.
func (ws *Workspace) Enter(ctx context.Context) (err error) {
	ws.leave, err = ws.engine.Enter(ctx)
	return err
}

// Close removes the workspace.
func (ws *Workspace) Close() {
	ws.Leave()
	ws.cache.Close()
	ws.engine.Remove(ws.dir)
}

// requires returns the requirements of the go.mod as it is now.
func (ws *Workspace) requires() ([]module.Version, error) {
	lock, err := ws.Lock()
	if err != nil {
		return nil, err
	}
	return gobuild.Requires(lock.GoMod)
}

// Lock returns go.mod and go.sum as they are now.
func (ws *Workspace) Lock() (k6x.Lock, error) {
	goMod, modErr := os.ReadFile(filepath.Join(ws.dir, "go.mod"))
	goSum, sumErr := os.ReadFile(filepath.Join(ws.dir, "go.sum"))
	return k6x.Lock{GoMod: string(goMod), GoSum: string(goSum)}, errors.Join(modErr, sumErr)
}

// Go runs a go command that fetches nothing, and returns what it prints, which is an error if it is more than most bytes.
func (ws *Workspace) Go(ctx context.Context, most int, args ...string) (string, error) {
	return ws.output(ws.command(ctx, compiles, ws.engine.Tool.Path, args...), compiles, most)
}

// GoFetching is Go for a go command that may fetch modules.
func (ws *Workspace) GoFetching(ctx context.Context, most int, args ...string) (string, error) {
	return ws.output(ws.command(ctx, fetches, ws.engine.Tool.Path, args...), fetches, most)
}

// Tool runs a program of the toolchain, such as the compiler, with more variables, KEY=VALUE.
func (ws *Workspace) Tool(ctx context.Context, name string, args, env []string) error {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	cmd := ws.command(ctx, compiles, filepath.Join(ws.engine.Tool.Root, "pkg", "tool", runtime.GOOS+"_"+runtime.GOARCH, name), args...)
	cmd.Env = append(cmd.Env, env...)
	_, err := ws.output(cmd, compiles, maxOutput)
	return err
}

// Link is Tool for the linker, whose output is that of the workspace. It returns once that is complete, if the system tells; the process
// then still has to give back half a gigabyte of memory. Exit waits for that, and returns an error if the output is not to be used. It has
// to be called if there is no error; until then, the workspace is only for Inspect.
func (ws *Workspace) Link(ctx context.Context, args, env []string) (exit func() error, err error) {
	closed, stop := disk.WatchClose(ws.Output())
	ended := make(chan error, 1)
	go func() { ended <- ws.Tool(ctx, "link", args, env) }()
	select {
	case err := <-ended:
		stop()
		return func() error { return nil }, err
	case <-closed:
		return func() error {
			err := <-ended
			if changed := stop(); changed && err == nil {
				err = errors.New("the output was changed after the linker had closed it")
			}
			return err
		}, nil
	}
}

// output runs a command and returns what it prints, also if it fails. What it complains about is in the error, for the log.
func (ws *Workspace) output(cmd *exec.Cmd, does purpose, most int) (string, error) {
	var out strings.Builder
	complaints := &cage.Output{Max: 64 << 10}
	cmd.Stdout, cmd.Stderr = &limitedWriter{w: &out, left: most}, complaints
	err := ws.run(cmd, does)
	text := out.String()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, tailOf(text+complaints.String()))
	}
	return text, err
}

// limitedWriter fails when it has been given more than it may take, which ends the command that prints so much.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("too much output")
	}
	return l.w.Write(p)
}

// tailOf returns the end of a text for the log.
func tailOf(text string) string {
	const most = 2000
	return strings.ToValidUTF8(text[max(0, len(text)-most):], "")
}

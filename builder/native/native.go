// Package native is the engine that runs the go command on this machine.
//
// For each build it writes a main module of its own (workspace.go), runs one go build
// in it (run.go), reads the binary and the module versions that were selected
// (verify.go, graph.go), and copies it out. When the go command fails, classify.go finds
// out why and blame.go who is at fault. Whoever watches is told how far it is (progress.go).
//
// From a go build that succeeded it learns (learn.go) what was compiled into which files
// (kit.go). A later combination of packages that are all known needs no go build: the versions
// are selected here (plan.go) and the linker is run (assemble.go), to the very same bytes.
//
// A build of code that has no version (replaced.go) does without all that.
package native

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/workdir"
	"k6x/gotool"
)

// layout is the version of what writeWorkspace generates; it is part of each recipe.
const layout = 1

// buildFlags make the same bytes in whichever directory and at whatever time.
var buildFlags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}

// Config says where and how to build.
type Config struct {
	Tool    *gotool.Tool
	Dir     string        // gets work/, gocache/, modcache/ and home/; several processes may share it
	Timeout time.Duration // of one build, from when it starts; 0: 15 minutes
	Cgo     bool          // whether recipes with cgo are built, which runs the C compiler on strangers' code

	// Confine may restrict the go command before it is started, as by dropping its
	// permissions. An error fails the build. Nil: it runs as this process does.
	Confine func(*exec.Cmd) error

	Logger *slog.Logger // nil: nothing is logged
}

// Engine builds with the go command. Make one with [New].
type Engine struct {
	cfg  Config
	log  *slog.Logger
	dirs gotool.Dirs // Temp is that of each build
	work *workdir.Dir
	gate *gate
	mods *goMods
	sums sums
	kits kits
}

var _ builder.Engine = (*Engine)(nil)

// New returns an engine, and removes what processes that died have left in the work directory.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Minute
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, k6x.Errorf(k6x.Internal, "the build directory: %w", err)
	}
	cfg.Dir = dir
	dirs := gotool.Dirs{
		Home:     filepath.Join(dir, "home"),
		ModCache: filepath.Join(dir, "modcache"),
		Cache:    filepath.Join(dir, "gocache"),
	}
	for _, d := range []string{dirs.ModCache, dirs.Cache} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fileError("making the build directories", err)
		}
	}
	if err := gotool.MakeHome(dirs.Home); err != nil {
		return nil, fileError("making the build directories", err)
	}
	work, err := workdir.Open(ctx, dir, log)
	if err != nil {
		return nil, fileError("preparing the work directory", err)
	}
	return &Engine{cfg: cfg, log: log, dirs: dirs, work: work, gate: newGate(filepath.Join(dir, "build.lock")),
		mods: &goMods{modCache: dirs.ModCache}, kits: kits{dir: filepath.Join(dir, "kits")}}, nil
}

// Close removes the work directory of this process. No build may be running.
func (e *Engine) Close() error { return e.work.Close() }

// Settings returns what this engine adds to a request to make a recipe of it.
func (e *Engine) Settings() k6x.Settings {
	return k6x.Settings{
		Toolchain: e.cfg.Tool.Version,
		Flags:     slices.Clone(buildFlags),
		Env:       slices.Clone(e.cfg.Tool.Codegen),
		Layout:    layout,
	}
}

// Exclusive runs f while no build runs, for trimming the caches. It waits for the
// builds of this engine until ctx ends, and those that come meanwhile wait for f. If
// another process is building in the directory, it returns an error of kind Busy at
// once and does not run f.
func (e *Engine) Exclusive(ctx context.Context, f func() error) error {
	leave, err := e.gate.exclusive(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return f()
}

// Build makes the binary as [builder.Engine] says. A recipe that this engine cannot
// follow to the letter is an error of kind Invalid, or Unavailable if another version of
// k6x could.
func (e *Engine) Build(ctx context.Context, recipe k6x.Recipe, lock *k6x.Lock, w io.Writer) (k6x.Build, error) {
	if err := e.check(recipe); err != nil {
		return k6x.Build{}, err
	}
	leave, err := e.gate.shared(ctx)
	if err != nil {
		return k6x.Build{}, stopped(ctx, fileError("waiting for the caches", err))
	}
	defer leave()

	started := time.Now()
	ws, err := newWorkspace(e.work.Path, recipe, lock, e.sums.known())
	if err != nil {
		return k6x.Build{}, fileError("writing the main module", err)
	}
	defer ws.remove(e.log)
	ws.progress = watch(ctx)
	build, assembled, err := e.make(ctx, ws)
	if err != nil {
		return k6x.Build{}, err
	}
	if err := ws.copyOutput(ctx, w); err != nil {
		return k6x.Build{}, err
	}
	if !assembled {
		e.learn(ctx, ws)
	}
	build.Started = started.UTC()
	build.Duration = time.Since(started)
	return build, nil
}

// make makes the binary of ws and reports whether that was done without go build.
func (e *Engine) make(ctx context.Context, ws *workspace) (build k6x.Build, assembled bool, err error) {
	if e.assemble(ctx, ws) {
		if build, err = e.inspect(ws); err == nil {
			return build, true, nil
		}
		e.log.Warn("an assembled binary is left to go build", "path", ws.recipe.Path(), "error", err)
	}
	if err := ws.reset(e.sums.known()); err != nil {
		return k6x.Build{}, false, fileError("writing the main module", err)
	}
	if err := e.compile(ctx, ws); err != nil {
		if k6x.KindOf(err) == k6x.Forbidden { // a module that no database vouches for may have been released anew
			e.sums.forget()
			e.mods.forget()
			e.kits.forget()
		}
		return k6x.Build{}, false, err
	}
	build, err = e.inspect(ws)
	return build, false, err
}

// check refuses recipes that would be built otherwise than they say, and keeps what
// is not a module path or version out of the go command's way.
func (e *Engine) check(recipe k6x.Recipe) error {
	if recipe.Layout != layout || !slices.Equal(recipe.Flags, buildFlags) {
		return k6x.Errorf(k6x.Unavailable, "this binary was made by a version of k6x that builds in another way, and its bytes are gone").
			WithHint("Ask for other versions, or ask the operator to keep a service of that version.")
	}
	if !gotool.IsRelease(recipe.Toolchain) {
		return k6x.Errorf(k6x.Invalid, "%q is not a released Go toolchain", recipe.Toolchain)
	}
	for _, kv := range recipe.Env {
		if key, _, ok := strings.Cut(kv, "="); !ok || !gotool.IsCodegen(key) {
			return k6x.Errorf(k6x.Invalid, "%q has no place in a recipe", key)
		}
	}
	if _, err := k6x.ParsePlatform(recipe.Platform.String()); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, m := range modules(recipe) {
		if err := module.Check(m.Path, m.Version); err != nil {
			return k6x.Errorf(k6x.Invalid, "%s is not a module that can be built in", m).WithCause(err)
		}
		if seen[m.Path] {
			return k6x.Errorf(k6x.Invalid, "%s is in the recipe twice", m.Path)
		}
		seen[m.Path] = true
	}
	if recipe.Cgo && !e.cfg.Cgo {
		return k6x.Errorf(k6x.Forbidden, "%s needs cgo, which this service does not build with", recipe.List()).
			WithHint("Leave out the extension that needs cgo, or build it where a C compiler may run.")
	}
	return nil
}

// modules returns k6 and the extensions.
func modules(recipe k6x.Recipe) []k6x.Module {
	return append([]k6x.Module{recipe.K6}, recipe.Extensions...)
}

// pins returns the modules as the go command names them.
func pins(recipe k6x.Recipe) []module.Version {
	var list []module.Version
	for _, m := range modules(recipe) {
		list = append(list, module.Version{Path: m.Path, Version: m.Version})
	}
	return list
}

// stopped returns the error of a build whose ctx has ended; err if it has not.
func stopped(ctx context.Context, err error) error {
	switch cause := ctx.Err(); {
	case cause == nil:
		return err
	case errors.Is(cause, context.DeadlineExceeded):
		return k6x.Errorf(k6x.Timeout, "the build did not end in time").WithCause(context.Cause(ctx))
	default:
		return k6x.Errorf(k6x.Canceled, "the build was canceled").WithCause(context.Cause(ctx))
	}
}

// fileError returns the error for a file operation of ours that failed.
func fileError(doing string, err error) error {
	if e, ok := errors.AsType[*k6x.Error](err); ok {
		return e
	}
	if noSpace(err) {
		return outOfSpace().WithCause(err)
	}
	return k6x.Errorf(k6x.Internal, "something went wrong in this service while %s", doing).WithCause(err)
}

func outOfSpace() *k6x.Error {
	return k6x.Errorf(k6x.NoSpace, "there is no room left on the disk of this service to build").
		WithHint("Try again later; the operator has to make room.")
}

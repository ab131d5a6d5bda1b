// Package native is the engine that runs the go command on this machine.
//
// For each build it writes a main module of its own (workspace.go), runs one go build
// in it (run.go) without a network, fetches what that lacks (fetch.go) and builds again, reads the binary and the module versions that were selected
// (verify.go), and copies it out. When the go command fails, package gobuild finds out why
// and who is at fault, with what is in the module cache (blame.go). What it prints says how far it is (progress.go).
//
// From a go build that succeeded it learns (learn.go) what was compiled into which files
// (kit.go). A later combination of packages that are all known needs no go build: the versions
// are selected here (plan.go) and the linker is run (assemble.go), to the very same bytes. Packages that no kit knows are compiled if they
// are plain (source.go, units.go). What go build takes otherwise is left to it from then on (refuted.go).
//
// A build of code that has no version (replaced.go) does without all that.
//
// Nothing leaves a build, neither a binary nor what it printed, before the modules were found to include only
// what is theirs (includes.go).
package native

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/builder/internal/workdir"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/cage"
)

// Config says where and how to build.
type Config struct {
	Tool    *gotool.Tool
	Dir     string        // gets work/, gocache/, modcache/ and home/; several processes may share it
	Timeout time.Duration // of one build, from when it starts; 0: 15 minutes
	Cgo     bool          // whether recipes with cgo are built, which runs the C compiler on strangers' code

	// Cage confines the go command, the compiler and the linker, and bounds what they take. Nil: they run as
	// this process does.
	Cage *cage.Cage

	// Personal are files and directories that go commands which fetch modules may read besides what those of a
	// service may: the user's own configuration of git and ssh.
	Personal []string

	// ConfirmLater: packages that were never compiled are compiled without the go command, if the compiler is all that
	// they need. The go command makes the same binary after the answer, to be compared. It is for engines that live on.
	ConfirmLater bool

	// Hurried: nothing is learned, as somebody waits for this process to end.
	Hurried bool

	// BuildCache is where go commands find what other machines compiled; nil: nowhere. It keeps what it
	// finds in gocache/ of Dir.
	BuildCache BuildCache

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

	includes includes

	later *later // learning, which nobody waits for
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
	// Of golang.org are the toolchains, which may be run from there; see gotool.Tool.FetchPolicy.
	for _, d := range []string{dirs.ModCache, filepath.Join(dirs.ModCache, "golang.org"), dirs.Cache} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, gobuild.FileError("making the build directories", err)
		}
	}
	if err := gotool.MakeHome(dirs.Home); err != nil {
		return nil, gobuild.FileError("making the build directories", err)
	}
	work, err := workdir.Open(ctx, dir, log)
	if err != nil {
		return nil, gobuild.FileError("preparing the work directory", err)
	}
	return &Engine{cfg: cfg, log: log, dirs: dirs, work: work, gate: newGate(filepath.Join(dir, "build.lock")),
		later: newLater(log), mods: &goMods{modCache: dirs.ModCache}, kits: kits{dir: filepath.Join(dir, "kits")},
		includes: includes{file: filepath.Join(dir, includesFile)}}, nil
}

// Settle waits until the engine has learned from the builds that it made, which takes some seconds in which nothing
// is built, or until ctx ends.
func (e *Engine) Settle(ctx context.Context) { e.later.wait(ctx) }

// Close removes the work directory of this process. No build may be running. What was not learned
// yet, see [Engine.Settle], is not learned any more.
func (e *Engine) Close() error {
	e.later.close()
	return e.work.Close()
}

// Settings returns what this engine adds to a request to make a recipe of it.
func (e *Engine) Settings() k6x.Settings {
	return gobuild.Settings(e.cfg.Tool.Version, e.cfg.Tool.Codegen)
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
func (e *Engine) Build(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	if err := gobuild.Check(job.Recipe, e.cfg.Cgo); err != nil {
		return k6x.Build{}, err
	}
	leave, err := e.begin(ctx)
	if err != nil {
		return k6x.Build{}, err
	}
	defer leave()

	started := time.Now()
	ws, err := newWorkspace(e.work.Path, job.Recipe, job.Lock, e.sums.known())
	if err != nil {
		return k6x.Build{}, gobuild.FileError("writing the main module", err)
	}
	learning := false
	defer func() {
		if !learning {
			e.keepNoPlace(ws)
			ws.remove(e.log)
		}
	}()
	ws.progress = watch(report)
	build, assembled, err := e.make(ctx, ws)
	if err != nil {
		return k6x.Build{}, err
	}
	if err := gobuild.CopyBinary(ctx, w, ws.output()); err != nil {
		return k6x.Build{}, err
	}
	if learning = !e.cfg.Hurried && e.assembles(ws) && (!assembled || ws.unconfirmed) && e.keepPlace(ws); learning {
		ws.progress = nil // the answer is complete
		e.later.add(func(ctx context.Context) { e.learn(ctx, ws) }, func() {
			if ws.unconfirmed {
				e.log.Warn("a binary was not compared with that of the go command", "path", ws.recipe.Path(), "key", ws.recipe.Key())
			}
			ws.remove(e.log)
		})
	}
	build.Started = started.UTC()
	build.Duration = time.Since(started)
	return build, nil
}

// begin waits until a build may run, and returns what ends it.
func (e *Engine) begin(ctx context.Context) (end func(), err error) {
	if err := e.later.enter(ctx); err != nil {
		return nil, gobuild.Stopped(ctx, err)
	}
	leave, err := e.gate.shared(ctx)
	if err != nil {
		e.later.leave()
		return nil, gobuild.Stopped(ctx, gobuild.FileError("waiting for the caches", err))
	}
	return func() {
		leave()
		e.later.leave()
	}, nil
}

// keepPlace makes sure that there is a place to learn from ws later, if it can.
func (e *Engine) keepPlace(ws *workspace) bool {
	if !ws.place {
		ws.place = e.later.promise()
	}
	return ws.place
}

// keepNoPlace gives up what keepPlace has got.
func (e *Engine) keepNoPlace(ws *workspace) {
	if ws.place {
		ws.place = false
		e.later.forgo()
	}
}

// make makes the binary of ws and reports whether that was done without go build.
func (e *Engine) make(ctx context.Context, ws *workspace) (build k6x.Build, assembled bool, err error) {
	if e.assemble(ctx, ws) {
		if build, err = e.inspect(ws); err == nil {
			return build, true, nil
		}
		e.log.Warn("an assembled binary is left to go build", "path", ws.recipe.Path(), "error", err)
	}
	ws.unconfirmed = false
	if err := ws.reset(e.sums.known()); err != nil {
		return k6x.Build{}, false, gobuild.FileError("writing the main module", err)
	}
	e.shareCache(ctx, ws, true)
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

// Package native is the engine that runs the go command on this machine.
//
// For each build it writes a main module of its own (workspace.go), runs one go build in it (run.go) without a network, fetches
// what that lacks (fetch.go) and builds again, reads the binary and the module versions that were selected (verify.go), and copies
// it out. When the go command fails, package gobuild finds out why and who is at fault, with what is in the module cache (blame.go).
// How far a build is, it reports as it goes (progress.go). A build of code that has no version is in replaced.go.
//
// Nothing leaves a build, neither a binary nor what it printed, before the modules were found to include only what is theirs
// (includes.go).
//
// A [Workspace] is what an engine needs that wraps this one, to make a binary in another way and have the go command make it
// where it cannot: package fast.
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
	"k6x/internal/gomod"
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

	// BuildCache is where go commands find what other machines compiled; nil: nowhere. It keeps what it
	// finds in gocache/ of Dir.
	BuildCache BuildCache

	Logger *slog.Logger // nil: nothing is logged
}

// Engine builds with the go command. Make one with [New].
type Engine struct {
	cfg        Config
	log        *slog.Logger
	dirs       gotool.Dirs // Temp is that of each build
	work       *workdir.Dir
	gate       *gate
	mods       *gomod.Cache
	sums       sums
	includes   includes
	background []Background
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
		mods: &gomod.Cache{Dir: dirs.ModCache}, includes: includes{file: filepath.Join(dir, includesFile)}}, nil
}

// Background is what goes on after builds, in workspaces that are kept for it.
type Background interface {
	Settle(ctx context.Context) // waits until nothing goes on any more, or ctx ends
	Close()                     // ends what goes on
}

// Attach has [Engine.Settle] and [Engine.Close] care for what goes on in the background, too. It is for when an engine is made.
func (e *Engine) Attach(b Background) { e.background = append(e.background, b) }

// Settle waits until nothing goes on in the background any more, or until ctx ends.
func (e *Engine) Settle(ctx context.Context) {
	for _, b := range e.background {
		b.Settle(ctx)
	}
}

// Close ends what goes on in the background, see [Engine.Settle], and removes the work directory of this process. No build may be
// running.
func (e *Engine) Close() error {
	for _, b := range e.background {
		b.Close()
	}
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
	ws, err := e.Open(ctx, job, report)
	if err != nil {
		return k6x.Build{}, err
	}
	defer ws.Close()
	if err := ws.GoBuild(ctx); err != nil {
		return k6x.Build{}, err
	}
	build, err := ws.Inspect(true)
	if err != nil {
		return k6x.Build{}, err
	}
	return ws.Deliver(ctx, w, build)
}

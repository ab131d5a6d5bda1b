// Package native is the engine that runs the go command on this machine.
//
// For each build it writes a main module of its own, reads the binary and the module versions that were selected, and hands
// it over (workspace.go). In between it runs one go build in it without a network, fetches what that lacks and builds again (run.go).
// When the go command fails, package gobuild finds out why and which module is at fault, with what is in the module cache (blame.go).
// A build of code that has no version is in replaced.go.
//
// Nothing leaves a build, neither a binary nor what it printed, before the modules were found to include only what is theirs
// (includes.go).
//
// A [Workspace] is what an engine needs that wraps this one, to make a binary in another way and have the go command make it
// where it cannot: package fast.
package native

import (
	"cmp"
	"context"
	"io"
	"log/slog"
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

	// Cache is the name of another directory than gocache/ for Go's build cache. Beside is the engine of this process that has gocache/.
	Cache  string
	Beside *Engine

	// BuildCache is where go commands find what other machines compiled; nil: nowhere. It keeps what it
	// finds in gocache/ of Dir.
	BuildCache BuildCache

	Logger *slog.Logger // nil: nothing is logged
}

// Engine builds with the go command. Make one with [New].
type Engine struct {
	*workdir.Host
	cfg        Config
	mods       *gomod.Cache
	sums       sums
	includes   includes
	sources    *gobuild.Sources
	background []Background
}

var _ builder.Engine = (*Engine)(nil)

// New returns an engine, and removes what processes that died have left in the work directory.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, 15*time.Minute)
	host := &workdir.Host{Tool: cfg.Tool, Cage: cfg.Cage, Personal: cfg.Personal, Log: cfg.Logger, Cache: cfg.Cache}
	if cfg.Beside != nil {
		host.Beside = cfg.Beside.Host
	}
	if err := host.Open(ctx, cfg.Dir); err != nil {
		return nil, err
	}
	return &Engine{Host: host, cfg: cfg, mods: &gomod.Cache{Dir: host.Dirs.ModCache},
		sources: gobuild.NewSources(), includes: includes{file: filepath.Join(host.Dir, includesFile)}}, nil
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
	return e.Host.Close()
}

// Settings returns what this engine adds to a request to make a recipe of it.
func (e *Engine) Settings() k6x.Settings {
	return gobuild.Settings(e.Tool.Version, e.Tool.Codegen)
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
	return ws.Deliver(ctx, w, build, "")
}

// GoMods returns the go.mod files that the go command has downloaded.
func (e *Engine) GoMods() *gomod.Cache { return e.mods }

// Caches returns the directories of Go's build cache and module cache, which grow
// with each build. They may be trimmed under [Engine.Exclusive].
func (e *Engine) Caches() (builds, modules string) { return e.Dirs.Cache, e.Dirs.ModCache }

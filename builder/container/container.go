// Package container is the engine that builds in a container, over Docker's Engine API, which
// Podman speaks too. The machine needs no Go of its own: the image has it.
//
// Each build is one container (run.go) of an image that is pulled if it is not there (image.go,
// pull.go). The main module goes in and the binary comes out as a tar over the API (files.go),
// so that the daemon (connect.go) may be anywhere; Go's caches live in a volume that all builds
// share. The go command runs as the native engine runs it (command.go), to the same bytes, and
// the binary is checked in the same way.
package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/event"
	"k6x/gotool"
)

// DefaultImage is the smaller one of the official Go images, a third of the other. It has no C
// compiler, which most extensions do not need.
const DefaultImage = "golang:1.26-alpine"

// DefaultVolume is the volume that keeps Go's caches between builds.
const DefaultVolume = "k6x-cache"

// Config says where and how to build.
type Config struct {
	// Host is the daemon's address: unix://, tcp://, ssh:// or npipe://. If it is empty it is
	// that of DOCKER_HOST or, if that is not set, the first of the usual sockets of Docker and
	// Podman that answers.
	Host string

	Image   string // with go, sh and timeout; "": [DefaultImage]
	Volume  string // "": [DefaultVolume]
	Network string // such as host; "": the daemon's default

	// Env are KEY=VALUE for the go command, such as GOPROXY. Those that change what is compiled
	// become part of the recipes; what is set for each build cannot be chosen. Files that they
	// name are files of the image.
	Env []string

	Dir     string        // for temporary files; "": that of the system
	Timeout time.Duration // of one build, without the pull; 0: 15 minutes
	Cgo     bool          // whether recipes with cgo are built, for which the image needs a C compiler
	Logger  *slog.Logger  // nil: nothing is logged
}

// Engine builds in containers. Make one with [New].
type Engine struct {
	cfg     Config
	log     *slog.Logger
	client  *client.Client
	fetch   []string // of cfg.Env
	codegen []string // of cfg.Env

	lax atomic.Bool // the daemon cannot limit what a container uses

	mu     sync.Mutex // guards images
	images map[string]goImage
}

var _ builder.Engine = (*Engine)(nil)

// New returns an engine if a daemon answers; within seconds. It removes the containers that
// processes that died have left. The error is of kind Unavailable if no daemon answers, and
// Invalid if the address or Env is malformed.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg.Image = cmp.Or(cfg.Image, DefaultImage)
	cfg.Volume = cmp.Or(cfg.Volume, DefaultVolume)
	cfg.Timeout = cmp.Or(cfg.Timeout, 15*time.Minute)
	fetch, codegen, err := gotool.SplitEnv(cfg.Env, "HOME", "PATH")
	if err != nil {
		return nil, err
	}
	cli, err := connect(ctx, cfg.Host)
	if err != nil {
		return nil, err
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	e := &Engine{cfg: cfg, log: cfg.Logger, client: cli, fetch: fetch, codegen: codegen, images: make(map[string]goImage)}
	e.sweep(ctx, time.Now())
	return e, nil
}

// Close closes the connection to the daemon. No build may be running.
func (e *Engine) Close() error { return e.client.Close() }

// Host returns the address of the daemon.
func (e *Engine) Host() string { return e.client.DaemonHost() }

// Settings returns what this engine adds to a request to make a recipe of it. The toolchain is
// that of the image, which is pulled if it is not there; report is that of a build. Errors are those of a build.
func (e *Engine) Settings(ctx context.Context, report event.Sink) (k6x.Settings, error) {
	image, err := e.image(ctx, report)
	if err != nil {
		return k6x.Settings{}, err
	}
	return gobuild.Settings(image.toolchain, e.codegen), nil
}

// Build makes the binary as [builder.Engine] says. A recipe that this engine cannot follow to
// the letter is an error of kind Invalid, or Unavailable if another version of k6x could. A
// daemon that fails is an error of kind Unavailable.
func (e *Engine) Build(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	recipe := job.Recipe
	if err := gobuild.Check(recipe, e.cfg.Cgo); err != nil {
		return k6x.Build{}, err
	}
	files, err := gobuild.Files(recipe, job.Lock, "")
	if err != nil {
		return k6x.Build{}, err
	}
	image, err := e.image(ctx, report)
	if err != nil {
		return k6x.Build{}, err
	}
	dir, err := os.MkdirTemp(e.cfg.Dir, "k6x-container-")
	if err != nil {
		return k6x.Build{}, gobuild.FileError("making a directory for the binary", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			e.log.Error("a build's directory cannot be removed", "dir", dir, "err", err)
		}
	}()
	started := time.Now()
	b := &build{e: e, image: image, recipe: recipe, files: files, workDir: workDir(files), locked: job.Lock != nil, dir: dir, report: report}
	made, err := b.make(ctx)
	if err != nil {
		return k6x.Build{}, err
	}
	return gobuild.Deliver(ctx, w, b.output(), "", started, made)
}

// build is one build.
type build struct {
	e       *Engine
	image   goImage
	recipe  k6x.Recipe
	files   map[string]string // the main module
	workDir string            // in the container, for files
	locked  bool              // go.mod and go.sum are those of an earlier build
	dir     string            // on this machine, for what comes out
	report  event.Sink
}

var errTimeout = errors.New("the build's time is up")

// make makes the binary and checks it.
func (b *build) make(ctx context.Context) (k6x.Build, error) {
	running, stop := context.WithTimeoutCause(ctx, b.e.cfg.Timeout, errTimeout)
	defer stop()
	progress := gobuild.Watch(b.report)
	var live *gobuild.Live
	if b.report != nil {
		live = &gobuild.Live{Sink: b.report, Clean: func(line string) string { return b.clean(line, progress) }}
	}
	job := b.job(buildScript, gobuild.Arguments(b.recipe, b.locked, progress.Flags()...)...)
	job.live = func(line string) (kill bool) {
		progress.Line(line)
		live.Line(line)
		_, unpinned := gobuild.Unpinned(line)
		return unpinned
	}
	result, err := b.e.run(running, job)
	text := b.clean(result.output, progress)
	switch {
	case ctx.Err() != nil:
		return k6x.Build{}, gobuild.Stopped(ctx, err)
	case context.Cause(running) == errTimeout:
		return k6x.Build{}, gobuild.TookTooLong(b.e.cfg.Timeout, text, err)
	case err != nil:
		return k6x.Build{}, err
	}
	said := 0
	for line := range strings.Lines(text) {
		said += len(line)
		if pkg, ok := gobuild.Unpinned(strings.TrimSuffix(line, "\n")); ok {
			return k6x.Build{}, b.explainUnpinned(running, pkg, text[:said])
		}
	}
	if result.exit == 0 { // else there is no binary
		progress.Checking()
	}
	return b.judge(result, text)
}

// judge returns the report of a build that ended, if it made what was asked for.
func (b *build) judge(result result, text string) (k6x.Build, error) {
	graph, err := result.graph(b.recipe)
	if err != nil {
		return k6x.Build{}, badAnswer("it sent no module graph that makes sense").WithCause(err)
	}
	blame := gobuild.NewBlame(b.recipe, graph)
	used, err := gobuild.Requires(result.text[goModName])
	if b.locked {
		used = nil
	}
	if result.exit != 0 {
		failed := fmt.Errorf("the go command ended with %d", result.exit)
		return k6x.Build{}, blame.Explain(used, text, failed, result.exit == killedExit)
	}
	if err != nil {
		return k6x.Build{}, badAnswer("it sent no go.mod that makes sense").WithCause(err)
	}
	info, err := blame.Inspect(b.output(), used)
	if err != nil {
		return k6x.Build{}, err
	}
	return gobuild.Report(info, k6x.Lock{GoMod: result.text[goModName], GoSum: result.text[goSumName]}), nil
}

// explainUnpinned returns the error for an import of pkg that no go.mod provides. Who
// imports it is asked in another container, which fetches nothing.
func (b *build) explainUnpinned(ctx context.Context, pkg, text string) error {
	job := b.job(importsScript, gobuild.ImportsArguments...)
	job.env = append(job.env, "GOPROXY=off", "GOSUMDB=off")
	result, err := b.e.run(ctx, job)
	if err != nil {
		b.e.log.Warn("it could not be found out who imports a package", "package", pkg, "err", err)
	}
	graph, err := result.graph(b.recipe)
	if err != nil {
		return badAnswer("it sent no module graph that makes sense").WithCause(err)
	}
	blame := gobuild.NewBlame(b.recipe, graph)
	blame.Imports = result.text[importsName]
	return blame.ExplainUnpinned(pkg, text)
}

func (b *build) output() string { return filepath.Join(b.dir, gobuild.OutputName) }

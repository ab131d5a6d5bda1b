// Package fast is an engine that wraps builder/native, and makes a new combination of packages that were compiled before without
// go build.
//
// go build spends a second on loading and checking what a link needs 1.2 s for. So after a go build this engine asks
// go list -export which file of Go's build cache each package was compiled into, and keeps that as a package index, one for each
// platform and toolchain. A later combination of packages that the index has is made in three steps:
//
//	recipe ─► plan ─► compile main (10 ms) ─► link ─► native inspects the binary, as any other
//	          versions by minimal version selection over go.mod files, packages among them, each known with all its imports
//
// Where the system tells that the linker has closed its output (Linux), this is read, hashed and flushed to the disk while the process gives
// back its memory, which takes as long.
//
// What is linked has the very bytes that go build makes. Before an index is used, its first binary is linked here, too, and
// compared with that of go build. The index knows a compiled package by itself and by all that it was compiled with, so another version of one
// dependency is another package. Whatever is not known, or looks odd, or fails, is left to go build, which alone explains errors;
// rules of the go command are not made anew here, but kept away from. Builds with a lock, with cgo or with another toolchain are
// left to it, too.
//
// In a service ([builder.Resident]), packages that the index does not have are compiled here if the compiler is all that they need
// (no cgo, assembly, embedded files, nor any name, file, import or go.mod that the go command might refuse) and if the go command has
// just checked the sum of their module. Later, while nothing is built, the go command builds the same, and the bytes are compared. If
// it refuses, or makes others, the answer was wrong: that is an error in the log and counted, and the modules that were new in it
// are refuted, which leaves them to go build from then on. So is what every other go build finds to be planned wrongly: what was new
// in it or, if nothing was, the index. Of what a process still has to do when it ends, the log says that it was not compared.
//
// If machines share their build cache, the index is in it, too, with the go.mod files that a plan needs. A machine that lacks something asks for it
// before it runs go build, has the packs fetched of what is linked, and links that: it downloads no module. Those who write to that cache are
// believed about what belongs together and about the hashes of modules that are not here; it was proven where it was made. That goes no
// further: such hashes do not become lines that a go command begins with, includes are only taken on trust of modules that are not
// here, so that nothing of them was compiled here, and what a later go build here finds to be otherwise ends the use of all of it.
//
// On disk are, in the directory of the native engine, from where other processes read them:
//
//	kits/<hash>.json      a package index; the hash is of platform, toolchain and code generation settings
//	kits/refuted/<hash>   what is left to go build: the hash is of the text of the file, a module as path@version or "kit <hash>.json"
//
// They may be removed at any time; a go build more is what that costs.
//
// The files: fast.go is the engine, index.go the package index and refuted.go what is left to go build. plan.go says what to link,
// by versions.go, which selects module versions and packages, and source.go, which says which packages may be compiled here;
// compile.go and link.go run the compiler and the linker. learn.go fills the index after a go build, confirm.go
// has the go command make what was made without it, both in the background by way of queue.go. shared.go is the index in the shared build cache.
package fast

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/event"
	"k6x/internal/disk"
	"k6x/internal/gomod"
)

// Config says what an [Engine] may do. The zero value uses the index as it is.
type Config struct {
	// Lifetime of the process decides what is still done once a build was answered: nothing ([builder.OneShot]), the index is
	// filled after a go build ([builder.Batch]), or packages that are not in the index are compiled without the go command, too, which
	// makes the same binary afterwards, to be compared ([builder.Resident]).
	Lifetime builder.Lifetime

	// GoBuild leaves all to go build, through which a build cache that machines share gets what is compiled here.
	GoBuild bool

	// Counter publishes a number that only grows; nil: nothing is published.
	Counter func(name, help string, value func() float64)

	Logger *slog.Logger // nil: nothing is logged
}

// Engine makes binaries without go build where it can. Make one with [New].
type Engine struct {
	native   *native.Engine
	lifetime builder.Lifetime
	goBuild  bool
	log      *slog.Logger
	mods     *gomod.Cache
	builds   string // directory of Go's build cache
	indexes  indexes
	queue    *queue
	wrong    atomic.Int64 // binaries that were answered and then refuted
}

var _ builder.Engine = (*Engine)(nil)

// New returns an engine that leaves to next what it cannot make. What it does in the background ends with next.
func New(next *native.Engine, cfg Config) *Engine {
	log := cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	builds, _ := next.Caches()
	e := &Engine{native: next, lifetime: cfg.Lifetime, goBuild: cfg.GoBuild, log: log, mods: next.GoMods(), builds: builds,
		indexes: indexes{dir: filepath.Join(next.Dir, "kits")}, queue: newQueue(log)}
	if cfg.Counter != nil {
		cfg.Counter("k6x_builds_refuted_total", "Binaries that were answered and that go build then refused to make, or made in another way.",
			func() float64 { return float64(e.wrong.Load()) })
	}
	next.Attach(e.queue)
	return e
}

// build is one that is under way, or that is kept to learn from it.
type build struct {
	ws     *native.Workspace
	recipe k6x.Recipe

	// unconfirmed: packages were compiled for it that the go command has not compiled yet.
	unconfirmed bool
	suspects    []string // modules, path@version, that are at fault if the go command makes something else
	reserved    bool     // there is a place for it in the queue
	stored      bool     // the file is to be that of a store
	shared      bool     // it was linked by what others have put into the shared build cache

	// Of the binary, which is not here any more once it was answered.
	info   string // build info as it is linked in
	digest string // hex SHA-256; "" if neither a store takes it nor it is learned from
}

// Build makes the binary as [builder.Engine] says. Errors are those of the native engine.
func (e *Engine) Build(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	if err := e.queue.enter(ctx); err != nil {
		return k6x.Build{}, gobuild.Stopped(ctx, err)
	}
	defer e.queue.leave()
	if job.Lock != nil || job.Recipe.Cgo || job.Recipe.Toolchain != e.native.Settings().Toolchain {
		made, err := e.native.Build(ctx, job, report, w)
		if k6x.KindOf(err) == k6x.Forbidden && !job.Recipe.Cgo { // of a job with cgo it may be that cgo is not allowed
			e.indexes.forget()
		}
		return made, err
	}
	ws, err := e.native.Open(ctx, job, report)
	if err != nil {
		return k6x.Build{}, err
	}
	b := &build{ws: ws, recipe: job.Recipe}
	_, b.stored = w.(cache.Adopter)
	learns := false
	defer func() {
		if learns {
			e.enqueue(b)
		} else {
			e.release(b)
			ws.Close()
		}
	}()
	made, linked, err := e.make(ctx, b)
	if err != nil {
		return k6x.Build{}, err
	}
	learn := e.learns(b, linked) && e.reserve(b)
	if made, err = ws.Deliver(ctx, w, made, b.digest); err != nil {
		return k6x.Build{}, err
	}
	learns = learn
	return made, nil
}

// learns reports whether there is something to learn from a binary, in a process that lives to do so.
func (e *Engine) learns(b *build, linked bool) bool {
	return e.lifetime != builder.OneShot && (!linked || b.unconfirmed)
}

// inspect reads the binary in the workspace. If a store takes it, or it is learned from, it is hashed, too; for a store it is flushed to the disk.
func (e *Engine) inspect(ctx context.Context, b *build, linked bool) (made k6x.Build, err error) {
	var reading sync.WaitGroup
	var unread, lost, unknown error
	if e.learns(b, linked) || b.stored {
		reading.Go(func() { b.digest, _, unread = disk.DigestFile(ctx, b.ws.Output()) })
	}
	if b.stored {
		reading.Go(func() { lost = disk.Flush(b.ws.Output()) })
	}
	made, err = b.ws.Inspect(!linked || !b.unconfirmed && !b.shared)
	if err == nil && e.learns(b, linked) {
		b.info, unknown = infoOf(b.ws.Output())
	}
	reading.Wait()
	if failed := errors.Join(unread, lost, unknown); err == nil && failed != nil {
		err = gobuild.Stopped(ctx, gobuild.FileError("reading the binary", failed))
	}
	return made, err
}

// infoOf returns build info as it is linked into a binary.
func infoOf(binary string) (string, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "", err
	}
	info.GoVersion = ""
	return info.String(), nil
}

// is reports whether a file has the bytes of the binary.
func (b *build) is(ctx context.Context, name string) (bool, error) {
	sum, _, err := disk.DigestFile(ctx, name)
	return sum == b.digest, err
}

// make makes the binary and reports whether that was done without go build.
func (e *Engine) make(ctx context.Context, b *build) (made k6x.Build, linked bool, err error) {
	if !e.goBuild {
		if made, err = e.tryLink(ctx, b); err == nil {
			return made, true, nil
		}
	}
	b.unconfirmed = false
	if err := b.ws.Reset(); err != nil {
		return k6x.Build{}, false, err
	}
	if err := b.ws.GoBuild(ctx); err != nil {
		if k6x.KindOf(err) == k6x.Forbidden { // as for the native engine, which then reads anew what it knows of modules
			e.indexes.forget()
		}
		return k6x.Build{}, false, err
	}
	made, err = e.inspect(ctx, b, false)
	return made, false, err
}

// reserve makes sure that there is a place in the queue to learn from b, if it can.
func (e *Engine) reserve(b *build) bool {
	b.reserved = b.reserved || e.queue.reserve()
	return b.reserved
}

// release gives up what reserve has got.
func (e *Engine) release(b *build) {
	if b.reserved {
		b.reserved = false
		e.queue.release()
	}
}

// enqueue has b learned from once nothing is built, and closes it.
func (e *Engine) enqueue(b *build) {
	b.ws.Leave() // the answer is complete
	e.queue.add(func(ctx context.Context) { e.learn(ctx, b) }, func() {
		if b.unconfirmed {
			e.log.Warn("a binary was not compared with that of the go command", "path", b.recipe.Path(), "key", b.recipe.Key())
		}
		b.ws.Close()
	})
}

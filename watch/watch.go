// Package watch finds versions of k6 and of its extensions that are new, tells of them in the history, and has them built.
//
// Which versions were seen is a journal of its own, which all services on a bucket share and which forgets nothing: the service that appends a
// version there first is the one that saw it. [Watcher.Look] compares what there is now with that journal, and appends what is new.
// [Watcher.Sweep] brings about what follows of it: an entry in the history, and one attempt to build for each platform. Both can be cut off
// anywhere: the next sweep of any service does what is left, and finds what was done.
//
// Files: watch.go looks, seen.go is the view of the journal, sweep.go builds.
package watch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/semver"

	"k6x"
	"k6x/cache/journal"
	"k6x/history"
	"k6x/resolver"
)

// Bounds of one look.
const (
	maxModules  = 2000
	maxVersions = 200    // the newest, of one module
	maxVersion  = 100    // bytes
	maxKnown    = 10_000 // versions of one module that are noted before it is watched
	maxNew      = 100    // what is more is new at the next look
)

// Config says what is watched, and what is done about it.
type Config struct {
	Seen    *journal.Journal // versions that were seen; it has to keep all
	History *history.History // is told of what is new
	// Published returns all that there is of what is wanted, as [resolver.Resolver.Published] does.
	Published func(ctx context.Context, wanted func(name, module string) bool) ([]resolver.Published, error)
	// Build has a list built behind all that a client waits for. Resolved reports whether it came to a build, so that the history has a
	// result, or will have.
	Build      func(ctx context.Context, platform k6x.Platform, list k6x.List) (resolved bool, err error)
	Platforms  []k6x.Platform
	Extensions []string      // patterns, as [path.Match] has them, of names or modules of extensions; nil: all
	Backfill   int           // how many of the newest versions of each are new at the first look
	Interval   time.Duration // between looks
	Life       time.Duration // for how long what is new is tried; 0: a week
	Clock      func() time.Time
	Logger     *slog.Logger
}

// Watcher watches.
type Watcher struct {
	cfg   Config
	fresh chan struct{} // there may be something to sweep
	seen  *journal.View // of Config.Seen

	mu        sync.Mutex // guards what follows
	settled   bool       // what was there at the very first look is noted
	modules   map[string]*module
	wishes    []*wish
	published map[string]resolver.Published // by module: what the last look found
	failing   string                        // the error of the last look; "": it went well
}

// New returns a watcher. An error says that a pattern is malformed.
func New(cfg Config) (*Watcher, error) {
	cfg.Life = cmp.Or(cfg.Life, 7*24*time.Hour)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for _, pattern := range cfg.Extensions {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("the pattern %q is malformed", pattern)
		}
	}
	w := &Watcher{cfg: cfg, fresh: make(chan struct{}, 1), modules: make(map[string]*module), published: make(map[string]resolver.Published)}
	w.seen = journal.NewView(cfg.Seen, w.take)
	return w, nil
}

// Run looks and sweeps until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { // by itself, as a build may wait for long
		for {
			select {
			case <-w.fresh:
				w.Sweep(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	for {
		w.tell(w.Look(ctx))
		select {
		case w.fresh <- struct{}{}:
		default:
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell logs an error of a look, once as long as it stays the same.
func (w *Watcher) tell(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch before := w.failing; {
	case now == before || k6x.Interrupted(err):
		return
	case err != nil:
		w.cfg.Logger.Warn("not all of what is new is known; it is asked for again", "error", err)
	default:
		w.cfg.Logger.Info("all of what is new is known again")
	}
	w.failing = now
}

// wanted reports whether an extension, or k6, is watched.
func (w *Watcher) wanted(name, module string) bool {
	return w.cfg.Extensions == nil || name == k6x.K6 || slices.ContainsFunc(w.cfg.Extensions, func(pattern string) bool {
		byName, _ := path.Match(pattern, name) // New has seen to errors
		byModule, _ := path.Match(pattern, module)
		return byName || byModule
	})
}

// Look notes versions that are new. At the very first look of all services nothing is, but for what Backfill says. After an error,
// what could be known is noted.
func (w *Watcher) Look(ctx context.Context) error {
	all, err := w.cfg.Published(ctx, w.wanted)
	if err != nil {
		return err
	}
	if err := w.seen.CatchUp(ctx); err != nil {
		return err
	}
	settled, left := w.isSettled(), maxNew
	var unknown error
	for _, p := range all[:min(len(all), maxModules)] {
		if p.Err != nil && unknown == nil {
			unknown = p.Err
		}
		if err := w.look(ctx, p, settled, &left); err != nil {
			return err
		}
	}
	if !settled {
		if err := w.note(ctx, note{Settled: true}); err != nil {
			return err
		}
	}
	return unknown
}

// Versions returns the versions that the last look found, by the name of the extension, or k6. A nil watcher knows none.
func (w *Watcher) Versions() map[string][]string {
	versions := make(map[string][]string)
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.published {
			versions[p.Name] = p.Versions
		}
	}
	return versions
}

// look notes what is new of one module, at most left versions, of which it takes off those.
func (w *Watcher) look(ctx context.Context, p resolver.Published, settled bool, left *int) error {
	known := w.knows(p.Module)
	if p.Err != nil {
		if !settled && known == never {
			return w.note(ctx, note{Module: p.Module, Name: p.Name, Unread: true})
		}
		return nil
	}
	versions := slices.DeleteFunc(slices.Clone(p.Versions), func(v string) bool { return len(v) > maxVersion })
	all := versions[:min(len(versions), maxKnown)] // those that come to be among the newest, as others are retracted, are not new
	versions = versions[:min(len(versions), maxVersions)]
	w.mu.Lock()
	p.Versions = versions
	w.published[p.Module] = p
	w.mu.Unlock()
	if known != read {
		count := w.cfg.Backfill
		if settled && known == never { // registered since
			count = max(count, 1)
		}
		// First what is not new: cut off between the two, the rest is what is new. Until all that is noted, the module counts as unread.
		for old, size := without(all, newest(versions, count)), -1; size != 0; old = old[size:] {
			size = min(len(old), maxVersions)
			if err := w.note(ctx, note{Module: p.Module, Name: p.Name, Versions: old[:size], Unread: size > 0}); err != nil {
				return err
			}
		}
	}
	fresh := w.unseen(p.Module, versions)
	slices.Reverse(fresh) // as they came to be
	fresh = fresh[:min(len(fresh), *left)]
	*left -= len(fresh)
	if len(fresh) == 0 {
		return nil
	}
	return w.note(ctx, note{Module: p.Module, Name: p.Name, Versions: fresh, New: true})
}

// newest returns the newest releases, or versions where nothing was released. Versions are sorted, the newest first.
func newest(versions []string, count int) []string {
	releases := slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return semver.Prerelease(v) != "" })
	if len(releases) == 0 {
		releases = versions
	}
	return releases[:min(len(releases), count)]
}

func without(versions, others []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return slices.Contains(others, v) })
}

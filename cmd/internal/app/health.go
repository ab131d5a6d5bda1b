package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"k6x"
	"k6x/internal/disk"
	"k6x/service"
)

const (
	checkEvery = 30 * time.Second
	checkTime  = 20 * time.Second // that one check may take
	checkPause = 2 * time.Second  // at least, between two of one part; what does not work is checked as often
	scarce     = 256 << 20        // bytes: with less, or less than half of the disk, a build may find no room
)

// health knows whether what the service needs works. Each part of that is checked from time to time, and when something
// failed that needs it.
type health struct {
	logger *slog.Logger
	order  []*part

	mu sync.Mutex // guards the state of each part
}

// part is one of them.
type part struct {
	state service.Part
	every time.Duration
	check func(ctx context.Context, thorough bool) error // thorough: it does not work, or something failed. Words of the error are for strangers.
	alarm chan struct{}
	ended chan error // of the check that runs; nil: none does
}

// add adds a part, which is taken to work until it was checked.
func (h *health) add(name string, every time.Duration, check func(ctx context.Context, thorough bool) error) *part {
	p := &part{state: service.Part{Name: name, Works: true}, every: every, check: check, alarm: make(chan struct{}, 1)}
	h.order = append(h.order, p)
	return p
}

// failed has the part checked soon.
func (p *part) failed() {
	select {
	case p.alarm <- struct{}{}:
	default:
	}
}

// run checks all parts until ctx ends.
func (h *health) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range h.order {
		all.Go(func() {
			for alarmed := false; ctx.Err() == nil; {
				h.examine(ctx, p, alarmed)
				pause, wait := min(checkPause, p.every), p.every
				if !h.state(p).Works {
					wait = pause
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
				select {
				case <-ctx.Done():
				case <-time.After(wait - pause):
					alarmed = false
				case <-p.alarm:
					alarmed = true
				}
			}
		})
	}
	all.Wait()
}

// examine checks a part. A check that hangs, as a disk far away can, is a failure until it returns.
func (h *health) examine(ctx context.Context, p *part, alarmed bool) {
	limited, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if p.ended == nil {
		ended, thorough := make(chan error, 1), alarmed || !h.state(p).Works
		p.ended = ended
		go func() { ended <- p.check(limited, thorough) }()
	}
	var err error
	select {
	case err = <-p.ended:
		p.ended = nil
	case <-limited.Done():
		err = k6x.Errorf(k6x.Unavailable, "%s: no answer within %s", p.state.Name, checkTime)
	}
	if ctx.Err() == nil {
		h.set(p, err)
	}
}

func (h *health) state(p *part) service.Part {
	h.mu.Lock()
	defer h.mu.Unlock()
	return p.state
}

// set notes what came of a check. Each change is logged once.
func (h *health) set(p *part, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := p.state
	p.state = service.Part{Name: before.Name, Works: err == nil, Since: before.Since}
	if err != nil {
		p.state.Message = k6x.AsError(err).Message
	}
	switch {
	case before.Works && err != nil:
		p.state.Since = time.Now().UTC().Truncate(time.Second)
		h.logger.Warn("something that the service needs does not work", "part", p.state.Name, "error", err, "cause", errors.Unwrap(err))
	case !before.Works && err == nil:
		p.state.Since = time.Time{}
		h.logger.Info("it works again", "part", p.state.Name)
	}
}

// Parts returns how all parts are.
func (h *health) Parts() []service.Part {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]service.Part, len(h.order))
	for i, p := range h.order {
		list[i] = p.state
	}
	return list
}

// addParts says what the parts are.
func (a *App) addParts() {
	h := &a.health
	h.logger = a.logger
	a.storePart = h.add("store", checkEvery, func(ctx context.Context, thorough bool) error {
		// What was full when it was last written to may have room by now.
		if full := a.store.Stats().Full; full != "" && checkDisk(directory{"store", a.store.path}) != nil {
			return k6x.Errorf(k6x.NoSpace, "%s", full)
		}
		if a.store.probe == nil {
			return nil
		}
		return a.store.probe(ctx, thorough)
	})
	h.add("disk", checkEvery, func(context.Context, bool) error {
		for _, d := range a.directories() {
			if err := checkDisk(d); err != nil {
				return err
			}
		}
		return nil
	})
	h.add("registries", time.Second, func(context.Context, bool) error {
		for _, s := range a.resolver.Sources() {
			if s.Stale {
				return k6x.Errorf(k6x.Unavailable, "the registry %s is out of reach: what is known of it is served", s.Location)
			}
		}
		return nil
	})
	h.add("go", checkEvery, func(ctx context.Context, _ bool) error { return a.tools.Tool.Check(ctx) })
}

// directory is one that the service writes to, by the name that strangers get to know.
type directory struct{ name, path string }

// directories returns those that may be on disks of their own.
func (a *App) directories() []directory {
	list := []directory{{"cache", a.options.CacheDir}}
	if a.store.dir != "" {
		list = append(list, directory{"store", a.store.dir})
	}
	return list
}

// checkDisk returns an error unless files can be written to a directory and there is room for a build.
func checkDisk(d directory) error {
	name := filepath.Join(d.path, ".check")
	err := disk.Explain(os.WriteFile(name, make([]byte, 4<<10), 0o600))
	if gone := os.Remove(name); err == nil && !errors.Is(gone, fs.ErrNotExist) { // another process may do the same
		err = gone
	}
	free, size, freeErr := disk.Free(d.path)
	switch {
	case disk.IsFull(err) || freeErr == nil && free < min(scarce, size/2):
		return k6x.Errorf(k6x.NoSpace, "the disk of the %s directory is full: %s are left", d.name, humanize.IBytes(uint64(free))).WithCause(err)
	case err != nil:
		return k6x.Errorf(k6x.Unavailable, "nothing can be written to the %s directory", d.name).WithCause(err)
	}
	return nil
}

package watch

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"time"

	"k6x"
)

// note is an entry of the journal of versions that were seen.
type note struct {
	Module   string   `json:"module,omitempty"`
	Name     string   `json:"name,omitempty"`
	Versions []string `json:"versions,omitempty"`
	New      bool     `json:"new,omitempty"`     // they are to be told of and built
	Unread   bool     `json:"unread,omitempty"`  // it was there at the first look, and could not be read
	Settled  bool     `json:"settled,omitempty"` // all that was there at the first look is noted
}

// module is what was seen of one.
type module struct {
	versions map[string]bool
	unread   bool
}

// knowledge says what is known of a module.
type knowledge int

const (
	never  knowledge = iota // it was not there
	unread                  // it was there at the first look, and could not be read
	read                    // versions of it were seen
)

// wish is a version that is new.
type wish struct {
	module, name, version string
	since                 time.Time
	told                  bool                  // the history has it
	done                  map[k6x.Platform]bool // tried, or there already
	tries                 int                   // that may do better the next time
	next                  time.Time             // when that is
}

// maxWishes bounds the versions that wait to be built.
const maxWishes = 2000

// catchUp reads what is new in the journal.
func (w *Watcher) catchUp(ctx context.Context) error {
	for {
		entries, err := w.cfg.Seen.Read(ctx, w.last(), 256)
		if err != nil || len(entries) == 0 {
			return err
		}
		w.mu.Lock()
		for _, e := range entries {
			var n note
			if e.Number != w.read+1 {
				continue // another call read it
			}
			w.read = e.Number
			if err := json.Unmarshal(e.Data, &n); err != nil {
				w.cfg.Logger.Error("an entry of the journal of versions cannot be read", "number", e.Number, "error", err)
				continue
			}
			w.add(n, e.Time)
		}
		w.mu.Unlock()
	}
}

// add takes an entry into the view. The caller holds the lock.
func (w *Watcher) add(n note, at time.Time) {
	if n.Settled {
		w.settled = true
		return
	}
	m := w.modules[n.Module]
	if m == nil {
		m = &module{versions: make(map[string]bool), unread: n.Unread}
		w.modules[n.Module] = m
	}
	m.unread = m.unread && n.Unread
	for _, v := range n.Versions {
		m.versions[v] = true
		if n.New {
			w.wishes = append(w.wishes, &wish{module: n.Module, name: n.Name, version: v, since: at, done: make(map[k6x.Platform]bool)})
		}
	}
	w.wishes = w.wishes[max(0, len(w.wishes)-maxWishes):]
}

// note appends an entry, without versions that were seen meanwhile, unless it says nothing that the journal does not have.
func (w *Watcher) note(ctx context.Context, n note) error {
	for range 1000 { // entries that others append meanwhile
		last := w.last() // before the view is asked, which may know more by then, but not less
		rest := n
		rest.Versions = w.unseen(n.Module, n.Versions)
		known := w.knows(n.Module)
		switch {
		case len(rest.Versions) > 0:
		case n.Settled && !w.isSettled(), n.Unread && known == never, !n.New && !n.Unread && !n.Settled && known != read:
		default:
			return nil
		}
		_, err := w.cfg.Seen.AppendBehind(ctx, last, rest)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if caught := w.catchUp(ctx); caught != nil || err == nil {
			return caught
		}
	}
	return k6x.Errorf(k6x.Unavailable, "too many services note versions at once")
}

func (w *Watcher) last() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read
}

func (w *Watcher) isSettled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settled
}

func (w *Watcher) knows(path string) knowledge {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch m := w.modules[path]; {
	case m == nil:
		return never
	case m.unread:
		return unread
	}
	return read
}

// unseen returns those versions of a module that were not seen.
func (w *Watcher) unseen(path string, versions []string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.modules[path]
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return m != nil && m.versions[v] })
}

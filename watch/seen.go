package watch

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"k6x"
	"k6x/cache/journal"
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

// take takes entries into the view.
func (w *Watcher) take(entries []journal.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		var n note
		if err := json.Unmarshal(e.Data, &n); err != nil {
			w.cfg.Logger.Error("an entry of the journal of versions cannot be read", "number", e.Number, "error", err)
			continue
		}
		w.add(n, e.Time)
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
	_, err := w.seen.Append(ctx, func() any {
		rest := n
		rest.Versions = w.unseen(n.Module, n.Versions)
		known := w.knows(n.Module)
		if len(rest.Versions) > 0 || n.Settled && !w.isSettled() || n.Unread && known == never || !n.New && !n.Unread && !n.Settled && known != read {
			return rest
		}
		return nil
	})
	return err
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

// Package history keeps what came of builds. Each attempt leaves one [Result], and each result is one entry of a journal that all services of
// a bucket share, as are new versions that were seen: what happened, in the order in which it happened. [Recorder] makes results of events, and
// [History] is the view of the journal that answers questions.
//
// Files: result.go, recorder.go, history.go; of builds that run at several services live.go (what clients ask for), layout.go (where and how it is
// written), show.go (the builds of this service), bury.go (those of services that have died), meet.go (which services live), follow.go (events of others for clients).
package history

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/semver"

	"k6x"
	"k6x/cache/journal"
)

// Type says what an entry of the journal is.
type Type string

// The types of entries.
const (
	Version Type = "version" // a version of k6 or of an extension was seen for the first time
	Build   Type = "build"   // an attempt to build ended
	Retry   Type = "retry"   // a client has an attempt made again

	Quarantine Type = "quarantine" // a worker delivered something wrong
)

// Entry is what the journal has: one thing that happened.
type Entry struct {
	Type    Type    `json:"type"`
	Module  string  `json:"module,omitempty"`  // Version: its path
	Name    string  `json:"name,omitempty"`    // Version: as a list names it
	Version string  `json:"version,omitempty"` // Version
	Result  *Result `json:"result,omitempty"`  // Build
	Build   string  `json:"build,omitempty"`   // Retry: the id of the attempt
	Retry   string  `json:"retry,omitempty"`   // Retry: that of the one which is made instead

	Worker     string   `json:"worker,omitempty"`     // Quarantine: its name
	Reason     string   `json:"reason,omitempty"`     // Quarantine
	Unverified []string `json:"unverified,omitempty"` // Quarantine: see [History.Unverified]; not all if there are very many
}

// Numbered is an entry with its place in the journal.
type Numbered struct {
	Number int64     `json:"number"`
	Time   time.Time `json:"time"`
	ID     string    `json:"-"` // random: the same for all that read it
	Entry
}

// History is a view of a journal, which it follows. All methods may be called at once.
type History struct {
	journal *journal.Journal
	view    *journal.View
	max     int
	logger  *slog.Logger

	mu      sync.RWMutex // guards what follows
	changes int64        // of the view
	entries []Numbered   // the last, oldest first
	byID    map[string]*Result
	byPath  map[string]*Result            // the last of each
	byHash  map[string]*Result            // the last of each digest
	alone   map[Module]map[string]*Result // the last of each extension alone with k6, by platform
	seen    map[string]bool               // module@version of entries of type Version
}

// New returns a view with the last entries, at most max.
func New(j *journal.Journal, max int, logger *slog.Logger) *History {
	h := &History{
		journal: j, max: max, logger: logger, seen: make(map[string]bool),
		byID: make(map[string]*Result), byPath: make(map[string]*Result), byHash: make(map[string]*Result), alone: make(map[Module]map[string]*Result),
	}
	h.view = journal.NewView(j, func(entries []journal.Entry) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, e := range entries {
			h.add(e)
		}
	})
	return h
}

// Run follows the journal until ctx ends.
func (h *History) Run(ctx context.Context) { h.view.Run(ctx) }

// add takes an entry into the view. The caller holds the lock.
func (h *History) add(e journal.Entry) {
	n, err := numbered(e)
	if err != nil {
		h.logger.Error("an entry of the history cannot be read", "number", e.Number, "error", err)
		return
	}
	switch {
	case n.Type == Version:
		h.seen[n.Module+"@"+n.Version] = true
	case n.Type == Retry, n.Type == Quarantine:
	case n.Result == nil || h.byID[n.Result.ID] != nil && (n.Result.Guessed || !h.byID[n.Result.ID].Guessed):
		return
	default:
		if guess := h.byID[n.Result.ID]; guess != nil {
			h.entries = slices.DeleteFunc(h.entries, func(n Numbered) bool { return n.Result == guess })
		}
		h.byID[n.Result.ID] = n.Result
		h.index(n.Result)
	}
	h.changes++
	h.entries = append(h.entries, n)
	for len(h.entries) > h.max {
		if oldest := h.entries[0].Result; oldest != nil {
			delete(h.byID, oldest.ID)
			h.forget(oldest)
		}
		h.entries = h.entries[1:]
	}
}

func numbered(e journal.Entry) (Numbered, error) {
	n := Numbered{Number: e.Number, Time: e.Time, ID: e.ID}
	err := json.Unmarshal(e.Data, &n.Entry)
	return n, err
}

// Append adds an entry to the journal, and to the view.
func (h *History) Append(ctx context.Context, e Entry) error {
	_, err := h.view.Append(ctx, func() any { return e })
	return err
}

// AppendUnless is Append unless found reports that the view, which then has all that comes before the entry, has something like it already.
// It returns whether it appended.
func (h *History) AppendUnless(ctx context.Context, e Entry, found func() bool) (bool, error) {
	return h.view.Append(ctx, func() any {
		if found() {
			return nil
		}
		return e
	})
}

// Result returns the result of an attempt; nil if it is not known.
func (h *History) Result(id string) *Result {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.byID[id]
}

// Changed returns a number that is another one when what is known has changed.
func (h *History) Changed() int64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.changes
}

// settled reports whether there is a result of an attempt that is not guessed.
func (h *History) settled(id string) bool {
	r := h.Result(id)
	return r != nil && !r.Guessed
}

// Seen reports whether a version was seen before.
func (h *History) Seen(module, version string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.seen[module+"@"+version]
}

// LastAttempt returns the result of the last attempt with one version of k6, or of an extension alone with k6, for a platform; nil if there is none.
func (h *History) LastAttempt(name, version, platform string) *Result {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, n := range slices.Backward(h.entries) {
		if n.Result == nil {
			continue
		}
		m := n.Result.Modules
		if n.Result.Platform == platform && len(m) > 0 && m[len(m)-1] == (Module{name, version}) && (len(m) == 1 || len(m) == 2 && name != k6x.K6) {
			return n.Result
		}
	}
	return nil
}

// Alone returns the last result of a version of an extension that was built alone with k6: of the platforms, that of one where it failed before
// all others. What was cut off by the end of a service says nothing. Nil: there is none.
func (h *History) Alone(m Module) (last *Result) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, r := range h.alone[m] {
		if last == nil || r.Outcome == Failed && last.Outcome != Failed || r.Outcome == last.Outcome && r.Begun.After(last.Begun) {
			last = r
		}
	}
	return last
}

// LastBuilt returns the newest version of an extension that was built for a platform, alone with k6, when that was last tried; "" if there is none.
func (h *History) LastBuilt(extension, platform string) (version string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for m, on := range h.alone {
		if r := on[platform]; m.Name == extension && r != nil && r.Outcome == Built && (version == "" || semver.Compare(m.Version, version) > 0) {
			version = m.Version
		}
	}
	return version
}

// Unverified returns by worker the paths of what it built of which no other machine has made the same bytes by itself, the newest first, at most limit in
// all. Doubted has the workers whose word counts for nothing; those that are true there are asked for.
func (h *History) Unverified(doubted map[string]bool, limit int) map[string][]string {
	if h == nil {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	type made struct{ worker, digest string }
	verified, listed := make(map[string]bool), make(map[made]bool) // by digest; of those that were verified none is
	for _, n := range h.entries {
		if r := n.Result; r != nil && r.Outcome == Built && r.Alone {
			if _, doubt := doubted[r.Worker]; !doubt {
				verified[r.Digest] = true
			}
		}
	}
	paths := make(map[string][]string)
	for _, n := range slices.Backward(h.entries) {
		if r := n.Result; r != nil && r.Outcome == Built && doubted[r.Worker] && !verified[r.Digest] && !listed[made{r.Worker, r.Digest}] && len(listed) < limit {
			listed[made{r.Worker, r.Digest}] = true
			paths[r.Worker] = append(paths[r.Worker], r.Path)
		}
	}
	return paths
}

// LastOf returns the last result of a canonical path; nil if there is none.
func (h *History) LastOf(path string) *Result {
	if h == nil {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.byPath[path]
}

// index notes a result as the last of its kinds. The caller holds the lock.
func (h *History) index(r *Result) {
	if r.Digest != "" {
		h.byHash[r.Digest] = r
	}
	h.byPath[r.Path] = r
	if len(r.Modules) != 2 || r.Outcome == Aborted {
		return
	}
	m := r.Modules[1]
	if h.alone[m] == nil {
		h.alone[m] = make(map[string]*Result)
	}
	h.alone[m][r.Platform] = r
}

// forget undoes what index did, if no later result did the same. The caller holds the lock.
func (h *History) forget(r *Result) {
	if h.byHash[r.Digest] == r {
		delete(h.byHash, r.Digest)
	}
	if h.byPath[r.Path] == r {
		delete(h.byPath, r.Path)
	}
	if len(r.Modules) != 2 || h.alone[r.Modules[1]][r.Platform] != r {
		return
	}
	m := r.Modules[1]
	if delete(h.alone[m], r.Platform); len(h.alone[m]) == 0 {
		delete(h.alone, m)
	}
}

// PathOf returns the path of a binary that was built, by its digest; "" if it is not known.
func (h *History) PathOf(digest string) string {
	if h == nil {
		return ""
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if r := h.byHash[digest]; r != nil {
		return r.Path
	}
	return ""
}

// Newest returns the newest entries, at most limit, the newest first: all, or those about an extension as a list names it.
func (h *History) Newest(extension string, limit int) (newest []Numbered) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, n := range slices.Backward(h.entries) {
		if len(newest) == limit {
			break
		}
		if extension == "" || n.Name == extension || n.Result != nil && (Filter{Extension: extension}).Matches(n.Result) {
			newest = append(newest, n)
		}
	}
	return newest
}

// Filter says which results are wanted. Zero values mean all.
type Filter struct {
	Extension string // as a list names it
	Version   string // of the extension; without one: of any module
	K6        string // version
	Path      string // canonical
	Platform  string
	Outcome   Outcome
	Since     time.Time // begun then or later
	Before    int64     // number of an entry of the journal: older ones
	Limit     int       // 0: 100
}

// Matches reports whether a result is wanted, wherever it is.
func (f Filter) Matches(r *Result) bool {
	switch {
	case f.Platform != "" && r.Platform != f.Platform,
		f.Path != "" && r.Path != f.Path,
		f.Outcome != "" && r.Outcome != f.Outcome,
		r.Begun.Before(f.Since),
		f.K6 != "" && !slices.ContainsFunc(r.Modules, func(m Module) bool { return m.Name == k6x.K6 && m.Version == f.K6 }):
		return false
	}
	if f.Extension == "" && f.Version == "" {
		return true
	}
	return slices.ContainsFunc(r.Modules, func(m Module) bool {
		return (f.Extension == "" || m.Name == f.Extension) && (f.Version == "" || m.Version == f.Version)
	})
}

// Results returns those that a filter lets pass, the newest first, and the number to put in Before for more; 0: there are no more.
func (h *History) Results(f Filter) (results []Numbered, next int64) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, n := range slices.Backward(h.entries) {
		if n.Result == nil || f.Before > 0 && n.Number >= f.Before || !f.Matches(n.Result) {
			continue
		}
		if len(results) == f.Limit {
			return results, results[f.Limit-1].Number
		}
		results = append(results, n)
	}
	return results, 0
}

// Last returns the number of the last entry that is known.
func (h *History) Last() int64 {
	_, last := h.journal.Bounds()
	return last
}

// Changes returns up to limit entries behind number since, and the number of the last that was read. What is no entry is passed over. What
// other services appended just now may be missing, so that any number of calls costs no more than one. What is returned is in the view.
//
// Errors:
//   - [*journal.GoneError]: the first of them is not kept any more
//   - [k6x.Unavailable]: the bucket does not answer
func (h *History) Changes(ctx context.Context, since int64, limit int) (changes []Numbered, last int64, err error) {
	for last = since; len(changes) == 0; {
		entries, err := h.journal.Follow(ctx, last, limit)
		if err != nil || len(entries) == 0 {
			return nil, last, err
		}
		for _, e := range entries {
			last = e.Number
			if n, err := numbered(e); err == nil { // else it was logged when the view read it
				changes = append(changes, n)
			}
		}
	}
	return changes, last, h.view.Reach(ctx, last)
}

// Wait returns once there is an entry behind number since, or when ctx ends, with its error.
func (h *History) Wait(ctx context.Context, since int64) error { return h.journal.Wait(ctx, since) }

// Cell is what is known of one extension in one version for one platform.
type Cell struct {
	Extension string    `json:"extension"`
	Version   string    `json:"version"`
	K6        string    `json:"k6"`
	Platform  string    `json:"platform"`
	Outcome   Outcome   `json:"outcome"` // of the last attempt
	Kind      string    `json:"kind,omitempty"`
	Error     string    `json:"error,omitempty"`
	Since     time.Time `json:"since,omitzero"`  // when the first attempt with this outcome was made, without another one between
	Build     string    `json:"build,omitempty"` // id of the last attempt
}

// Known says which extensions there are, whether they were built or not.
type Known struct {
	Extensions []string            // as lists name them
	Versions   map[string][]string // by extension; those that were built for a platform are known besides
	Platforms  []string
}

// maxCells bounds a matrix.
const maxCells = 20_000

// Matrix returns what came of extensions that were built alone with k6, by extension, version, k6 and platform, and those that were not, with any
// k6 or the one that is wanted. An extension of which no version is known has the version "". What was cut off by the end of a service says
// nothing. More reports whether cells are left out, as there are too many. Arguments that are "" mean all.
func (h *History) Matrix(extension, k6, platform string, known Known) (matrix []Cell, more bool) {
	type key struct{ extension, version, k6, platform string }
	cells := make(map[key]*Cell)
	tried := make(map[key]bool)                  // without k6
	versions := make(map[string]map[string]bool) // by extension
	h.mu.RLock()
	for _, n := range h.entries {
		r := n.Result
		if r == nil || len(r.Modules) != 2 || r.Outcome == Aborted || platform != "" && r.Platform != platform || k6 != "" && r.Modules[0].Version != k6 ||
			extension != "" && r.Modules[1].Name != extension {
			continue
		}
		k := key{r.Modules[1].Name, r.Modules[1].Version, r.Modules[0].Version, r.Platform}
		c := cells[k]
		if c == nil || c.Outcome != r.Outcome {
			c = &Cell{Extension: k.extension, Version: k.version, K6: k.k6, Platform: k.platform, Outcome: r.Outcome, Since: r.Begun}
			cells[k] = c
		}
		c.Build, c.Kind, c.Error = r.ID, r.Kind, r.Error
	}
	h.mu.RUnlock()
	matrix = make([]Cell, 0, len(cells))
	for k, c := range cells {
		matrix = append(matrix, *c)
		tried[key{k.extension, k.version, "", k.platform}] = true
		if versions[k.extension] == nil {
			versions[k.extension] = make(map[string]bool)
		}
		versions[k.extension][k.version] = true
	}
	for _, name := range known.Extensions {
		if extension != "" && name != extension {
			continue
		}
		all := slices.AppendSeq(slices.Clone(known.Versions[name]), maps.Keys(versions[name]))
		slices.Sort(all)
		if all = slices.Compact(all); len(all) == 0 {
			all = []string{""}
		}
		for _, version := range all {
			for _, p := range known.Platforms {
				if platform != "" && p != platform || tried[key{name, version, "", p}] {
					continue
				}
				if more = len(matrix) >= maxCells; more {
					break
				}
				matrix = append(matrix, Cell{Extension: name, Version: version, K6: k6, Platform: p, Outcome: Untried})
			}
		}
	}
	slices.SortFunc(matrix, func(a, b Cell) int {
		return cmp.Or(strings.Compare(a.Extension, b.Extension), strings.Compare(a.Version, b.Version), strings.Compare(a.K6, b.K6),
			strings.Compare(a.Platform, b.Platform))
	})
	return matrix, more
}

package buildcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// scope is the part of the remote level for one toolchain and platform, as far as it is known here.
type scope struct {
	name  string
	ready chan struct{} // closed when the indexes were read for the first time, or could not be

	mu         sync.Mutex // guards the fields below
	loaded     map[string]bool
	sinceMerge int // indexes that are in no merged one
	actions    map[ID]ID
	outputs    map[ID]place
	packs      map[ID]*pack
	builds     map[string][]ID // packs by label
	labels     []string        // of builds, newest last
	sending    map[ID]bool     // outputs that are on their way into a pack
	refreshed  time.Time
	refreshing bool
}

// place is where an output is.
type place struct {
	pack *pack
	size int64
}

// pack is a pack of the remote level.
type pack struct {
	packed

	// Guarded by the mutex of the scope:
	fetching  *fetching
	lost      bool // it is not there, or something else is
	notBefore time.Time
}

// Bounds on reading indexes.
const (
	maxIndexes   = 64 // newest that are read
	refreshEvery = 5 * time.Second
	readIndexes  = 8 // at a time
)

// scopeNamed returns the scope, and lets it be read if that was not done just now.
func (c *Cache) scopeNamed(name string) *scope {
	c.mu.Lock()
	s := c.scopes[name]
	if s == nil {
		s = &scope{
			name: name, ready: make(chan struct{}), loaded: make(map[string]bool), actions: make(map[ID]ID), outputs: make(map[ID]place),
			packs: make(map[ID]*pack), builds: make(map[string][]ID), sending: make(map[ID]bool),
		}
		c.scopes[name] = s
	}
	c.mu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refreshing || c.now().Sub(s.refreshed) < refreshEvery {
		return s
	}
	s.refreshing = c.begin(func() {
		c.refresh(s)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refreshing = false
		select {
		case <-s.ready:
		default:
			close(s.ready)
		}
	})
	return s
}

// refresh reads the indexes of a scope that it has not read yet.
func (c *Cache) refresh(s *scope) {
	if !c.reads.allow() {
		return
	}
	err := c.readIndexes(s)
	c.noteRead("the indexes of the shared build cache cannot be read", err)
	if err == nil {
		s.mu.Lock()
		s.refreshed = c.now()
		s.mu.Unlock()
	}
}

func (c *Cache) readIndexes(s *scope) (failed error) {
	ctx, cancel := context.WithTimeout(c.reading, c.cfg.Timeout)
	defer cancel()
	s.mu.Lock()
	before := slices.Collect(maps.Keys(s.loaded))
	s.mu.Unlock()
	all, err := listNames(ctx, c.cfg.Remote, indexPrefix(s.name))
	if err != nil {
		return err
	}
	slices.Sort(all)
	names := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !isIndex(s.name, name) })
	names = names[max(0, len(names)-maxIndexes):]
	found := make([]*index, len(names))
	var group errgroup.Group
	group.SetLimit(readIndexes)
	s.mu.Lock()
	for _, name := range before {
		if _, there := slices.BinarySearch(all, name); !there {
			delete(s.loaded, name)
		}
	}
	known := maps.Clone(s.loaded)
	s.mu.Unlock()
	for i, name := range names {
		if known[name] {
			continue
		}
		group.Go(func() error {
			x, err := loadIndex(ctx, c.cfg.Remote, name)
			s.mu.Lock()
			defer s.mu.Unlock()
			found[i] = x
			gone := errors.Is(err, fs.ErrNotExist) // merged since it was listed
			if gone || errors.Is(err, errOther) {
				s.loaded[name] = true // it is no use to try again
			}
			if err != nil && !gone {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range found {
		if x != nil {
			s.learn(names[i], x)
		}
	}
	return failed
}

// learn adds the content of an index that is newer than those before. The caller holds s.mu.
func (s *scope) learn(name string, x *index) {
	s.loaded[name] = true
	s.sinceMerge++
	if x.Merged {
		s.sinceMerge = 0
	}
	for _, made := range x.Packs {
		p := s.packs[made.ID]
		if p == nil {
			if len(s.packs) >= maxPacks {
				break
			}
			p = &pack{packed: made}
			s.packs[made.ID] = p
		}
		p.lost, p.notBefore = false, time.Time{} // it may have been sent again
		for _, o := range p.Outputs {
			if known, ok := s.outputs[o.Output]; !ok || known.pack.lost {
				s.outputs[o.Output] = place{p, o.Size}
			}
		}
	}
	for _, b := range x.Actions {
		if _, ok := s.actions[b.Action]; ok || len(s.actions) < maxActions {
			s.actions[b.Action] = b.Output
		}
	}
	for _, b := range x.Builds {
		if i := slices.Index(s.labels, b.Label); i >= 0 {
			s.labels = slices.Delete(s.labels, i, i+1)
		}
		s.labels = append(s.labels, b.Label)
		s.builds[b.Label] = b.Packs
		if len(s.labels) > maxBuilds {
			delete(s.builds, s.labels[0])
			s.labels = s.labels[1:]
		}
	}
}

// find returns where the output of an action is.
func (s *scope) find(action ID) (output ID, at place, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	output, ok = s.actions[action]
	if !ok {
		return ID{}, place{}, false
	}
	at, ok = s.outputs[output]
	return output, at, ok
}

// packsFor returns the packs that builds of a label need; if there were none, those of the
// label that is most like it, as a build of the same k6 needs much the same.
func (s *scope) packsFor(label string) (packs []*pack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	best, most := "", -1
	for _, known := range s.labels {
		if n := commonPrefix(known, label); n >= most {
			best, most = known, n
		}
		if known == label {
			best = known
			break
		}
	}
	for _, id := range s.builds[best] {
		if p := s.packs[id]; p != nil {
			packs = append(packs, p)
		}
	}
	return packs
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// merged returns an index of all that is known, without packs that are lost. The caller holds s.mu.
func (s *scope) merged() *index {
	x := &index{Merged: true}
	for _, p := range s.packs {
		if !p.lost {
			x.Packs = append(x.Packs, p.packed)
		}
	}
	slices.SortFunc(x.Packs, func(a, b packed) int { return slices.Compare(a.ID[:], b.ID[:]) })
	for action, output := range s.actions {
		if at, ok := s.outputs[output]; ok && !at.pack.lost {
			x.Actions = append(x.Actions, bound{action, output})
		}
	}
	slices.SortFunc(x.Actions, func(a, b bound) int { return slices.Compare(a.Action[:], b.Action[:]) })
	for _, label := range s.labels {
		x.Builds = append(x.Builds, build{label, s.builds[label]})
	}
	return x
}

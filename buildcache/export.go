package buildcache

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
)

// exporter sends the packages that a session compiled.
type exporter struct {
	s     *Session
	c     *Cache
	pack  *packer
	bound []bound // of this session, that no index had

	uploads sync.WaitGroup
	mu      sync.Mutex // guards sent
	sent    []packed
}

// run packs and sends what comes through a queue until it is closed, and then
// writes the index.
func (e *exporter) run(queue <-chan bound) {
	var err error
	if e.pack, err = newPacker(); err != nil {
		e.c.log.Warn("nothing can be sent to the shared build cache", "error", err)
		e.pack = nil
	} else {
		defer func() { e.forget(e.pack.drop()) }()
	}
	for b := range queue {
		select {
		case <-e.s.scope.ready: // so that nothing is sent again that is there
		case <-e.c.life.Done():
		}
		if e.pack == nil || e.c.life.Err() != nil || !e.take(b) {
			e.c.count(func(n *Stats) { n.Dropped++ })
		}
	}
	if e.pack == nil || e.c.life.Err() != nil {
		return
	}
	e.flush()
	e.uploads.Wait()
	e.publish()
}

// take adds an entry to the pack and reports whether that went well.
func (e *exporter) take(b bound) bool {
	s := e.s.scope
	info, err := os.Stat(e.c.local.output(b.Output))
	if err != nil || info.Size() > maxBody {
		return false
	}
	s.mu.Lock()
	at, there := s.outputs[b.Output]
	there = there && !at.pack.lost
	if there && s.actions[b.Action] == b.Output {
		s.mu.Unlock()
		return true
	}
	there = there || s.sending[b.Output]
	if !there {
		s.sending[b.Output] = true
	}
	s.mu.Unlock()
	e.bound = append(e.bound, b)
	if there {
		return true
	}
	file, err := os.Open(e.c.local.output(b.Output))
	if err == nil {
		err = e.pack.add(sized{b.Output, info.Size()}, file)
		file.Close()
	}
	if err != nil {
		e.c.log.Warn("what was compiled cannot be sent to the shared build cache", "error", err)
		e.forget(append(e.pack.drop(), sized{Output: b.Output}))
		return false
	}
	if e.pack.full() {
		e.flush()
	}
	return true
}

// flush sends the pack, as soon as few enough are being sent.
func (e *exporter) flush() {
	if len(e.pack.done) == 0 {
		return
	}
	if !e.c.writes.allow() {
		e.forget(e.pack.drop())
		return
	}
	outputs := slices.Clone(e.pack.done)
	made, body, err := e.pack.take()
	if err != nil {
		e.forget(outputs)
		return
	}
	select {
	case e.c.uploads <- struct{}{}:
	case <-e.c.life.Done():
		e.forget(outputs)
		return
	}
	e.uploads.Go(func() {
		defer func() { <-e.c.uploads }()
		if err := e.put(packName(made.ID), body, nil); err != nil {
			e.forget(outputs)
			return
		}
		e.c.count(func(n *Stats) { n.OutputsSent += int64(len(outputs)) })
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sent = append(e.sent, made)
	})
}

// forget takes outputs for not sent.
func (e *exporter) forget(outputs []sized) {
	e.c.count(func(n *Stats) { n.Dropped += int64(len(outputs)) })
	e.s.scope.settle(outputs)
}

// settle ends the sending of outputs, whether an index says now where they are or not.
func (s *scope) settle(outputs []sized) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range outputs {
		delete(s.sending, o.Output)
	}
}

func (e *exporter) put(name string, body []byte, needs []packed) error {
	ctx, cancel := context.WithTimeout(e.c.life, e.c.cfg.Timeout)
	defer cancel()
	err := e.c.cfg.Remote.Write(ctx, name, body, needs)
	if err != nil {
		e.c.count(func(n *Stats) { n.WriteFailures++ })
		e.c.log.Debug("the shared build cache cannot be written", "error", err)
	} else {
		e.c.count(func(n *Stats) { n.BytesSent += int64(len(body)) })
	}
	if e.c.writes.note(err) {
		e.c.log.Warn("nothing is sent to the shared build cache for a while", "pause", e.c.cfg.Pause, "error", err)
	}
	return err
}

// mergeAfter is how many indexes there may be before they are merged.
const mergeAfter = 32

// publish writes the index of the session, if there is news in it. From time to time that is one of all that
// is known, and those that it has replaced are removed.
func (e *exporter) publish() {
	s := e.s.scope
	e.s.mu.Lock()
	needed := slices.Clone(e.s.packs)
	e.s.mu.Unlock()
	for _, p := range e.sent {
		needed = append(needed, p.ID)
	}
	x := &index{Packs: e.sent}
	s.mu.Lock()
	for _, b := range e.bound {
		if _, known := s.outputs[b.Output]; known || s.sending[b.Output] {
			x.Actions = append(x.Actions, b)
		}
	}
	known := s.builds[e.s.label]
	needed = union(known, needed)
	if len(x.Packs) == 0 && len(x.Actions) == 0 && len(needed) == len(known) {
		s.mu.Unlock()
		return
	}
	x.Builds = []build{{e.s.label, needed}}
	write, old := x, []string(nil)
	if s.sinceMerge >= mergeAfter {
		write, old = s.mergedWith(x)
	}
	s.mu.Unlock()
	defer func() {
		for _, p := range x.Packs {
			s.settle(p.Outputs)
		}
	}()

	if !e.c.writes.allow() {
		return
	}
	body, err := encodeIndex(write)
	if err != nil || len(body) > maxIndex {
		e.c.log.Warn("the index of the shared build cache cannot be written", "bytes", len(body), "error", err)
		return
	}
	name := indexName(s.name, e.c.now(), body)
	if err := e.put(name, body, e.needs(write)); err != nil {
		return
	}
	s.mu.Lock()
	s.learn(name, write)
	s.mu.Unlock()
	for _, name := range old {
		ctx, cancel := context.WithTimeout(e.c.life, e.c.cfg.Timeout)
		err := e.c.cfg.Remote.Delete(ctx, name)
		cancel()
		if err != nil { // harmless, and registries may not allow it
			e.c.log.Debug("an index that was replaced cannot be removed", "name", name, "error", err)
			return
		}
	}
}

// union returns the ids of a, and those of b that are not among them.
func union(a, b []ID) []ID {
	seen := make(map[ID]bool)
	var all []ID
	for _, id := range slices.Concat(a, b) {
		if !seen[id] {
			seen[id] = true
			all = append(all, id)
		}
	}
	return all[:min(len(all), maxPacks)]
}

// mergedWith returns an index of all that is known and x, and the names of those that it replaces. The
// caller holds s.mu.
func (s *scope) mergedWith(x *index) (*index, []string) {
	all := s.merged()
	all.Packs = append(all.Packs, x.Packs...)
	all.Actions = append(all.Actions, x.Actions...)
	all.Builds = append(all.Builds, x.Builds...)
	all.Packs = all.Packs[:min(len(all.Packs), maxPacks)]
	all.Actions = all.Actions[:min(len(all.Actions), maxActions)]
	all.Builds = all.Builds[max(0, len(all.Builds)-maxBuilds):]
	return all, slices.Sorted(maps.Keys(s.loaded))
}

// needs returns the packs that an index needs: those that it describes or that its builds used.
func (e *exporter) needs(x *index) []packed {
	needed := slices.Clone(x.Packs)
	seen := make(map[ID]bool)
	for _, p := range x.Packs {
		seen[p.ID] = true
	}
	s := e.s.scope
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range x.Builds {
		for _, id := range b.Packs {
			if p := s.packs[id]; p != nil && !p.lost && !seen[id] {
				seen[id] = true
				needed = append(needed, p.packed)
			}
		}
	}
	return needed
}

package remote

import (
	"maps"
	"slices"
	"time"

	"k6x"
	"k6x/builder"
)

var _ builder.Places = (*Hub)(nil)

// Start has wake called when places become free without having been given back.
func (h *Hub) Start(wake func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wake = wake
}

// standing returns how a worker stands and why, and whether it may be given jobs.
func (h *Hub) standing(name string, p *peer) (_ Standing, reason string, usable bool) {
	m := h.roster.of(name)
	switch {
	case m.Standing != Active:
		return m.Standing, m.Reason, false
	case p.Wire != Wire:
		return Drained, otherWire(p.Wire), false
	case p.Draining && h.alive(p):
		return Drained, "it is about to stop", false
	}
	return Active, "", true
}

// fits reports whether a worker could build a job.
func (p *peer) fits(job builder.Job) bool {
	return (p.Fetches || slices.Contains(p.Toolchains, job.Recipe.Toolchain)) && (p.Cgo || !job.Recipe.Cgo)
}

// free returns how many places of a worker are free.
func (p *peer) free() int { return max(0, p.Slots-p.taken-p.others) }

// before reports whether a worker gets a build rather than another one. One that fails quickly would have most places free, and get each.
func (p *peer) before(other *peer) bool {
	if p.failing != other.failing {
		return other.failing
	}
	return p.free() > other.free()
}

// Take implements [builder.Places]: the worker that builds the same for a service that is gone, or of those whose last build did not fail, and
// else of all, that one with the most free places, or this service; which is first for what [Config].First says.
func (h *Hub) Take(job builder.Job) (worker string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.settled || h.full {
		return "", false
	}
	key, best, avoided := "", (*peer)(nil), ""
	h.full = h.here >= h.cfg.Slots
	for name, p := range h.peers {
		free := p.free()
		if free == 0 && !p.orphans || p.shunned || !h.alive(p) {
			continue
		}
		if _, _, usable := h.standing(name, p); !usable {
			continue
		}
		if h.full = false; !p.fits(job) {
			continue
		}
		at := slices.Index(job.Avoid, name)
		if key == "" && p.orphans {
			key = job.Recipe.Key()
		}
		if at < 0 && p.orphans && slices.ContainsFunc(p.Running, func(r running) bool { return r.Orphan && r.Key == key && !job.Rebuild }) {
			worker, best = name, nil
			break
		}
		if at >= 0 {
			if free > 0 && !(at == 0 && job.Rebuild && job.Priority == builder.Background) { // which is to be compared with what it made
				avoided = name
			}
		} else if free > 0 && (best == nil || p.before(best) || !best.before(p) && name < worker) {
			worker, best = name, p
		}
	}
	if h.here < h.cfg.Slots && (worker == "" || best != nil && h.cfg.First != nil && h.cfg.First(job)) {
		h.here++
		return "", true
	}
	if worker == "" && avoided != "" && !h.another(job) {
		worker = avoided
	}
	if worker != "" {
		h.peers[worker].taken++
	}
	return worker, worker != ""
}

// another reports whether a place that a job does not avoid will be free for it. The caller holds mu.
func (h *Hub) another(job builder.Job) bool {
	for name, p := range h.peers {
		if _, _, usable := h.standing(name, p); h.alive(p) && usable && p.Slots > 0 && p.fits(job) && !slices.Contains(job.Avoid, name) {
			return true
		}
	}
	return h.cfg.Slots > 0
}

// Release implements [builder.Places].
func (h *Hub) Release(worker string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.full = false
	if worker == "" {
		h.here--
		return
	}
	h.peers[worker].taken--
}

// Count implements [builder.Places].
func (h *Hub) Count() (all, free int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.settled {
		return 0, 0
	}
	all, free = h.cfg.Slots, h.cfg.Slots-h.here
	for name, p := range h.peers {
		if _, _, usable := h.standing(name, p); h.alive(p) && usable {
			all += p.Slots
			free += p.free()
		}
	}
	return all, free
}

// Able implements [builder.Places].
func (h *Hub) Able(job builder.Job) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cfg.Slots > 0 || time.Since(h.started) < h.cfg.Pace.missing() {
		return nil
	}
	for _, p := range h.peers {
		if p.fits(job) && time.Since(p.able) < h.cfg.Pace.missing() { // one that stops may have a successor
			return nil
		}
	}
	what := job.Recipe.Toolchain
	if job.Recipe.Cgo {
		what += " and cgo"
	}
	return k6x.Errorf(k6x.Unavailable, "there is no worker that builds with %s", what).WithRetry(h.cfg.Pace.missing())
}

// Pool returns what is known of the workers: each build of one, or that it has none.
func (h *Hub) Pool() builder.Pool {
	pool, members := builder.Pool{Name: "workers", Workers: []builder.Worker{}}, h.roster.all()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(members)) {
		w := builder.Worker{Name: name, State: string(members[name].Standing), Reason: members[name].Reason}
		p := h.peers[name]
		if p != nil {
			standing, reason, usable := h.standing(name, p)
			w = builder.Worker{Name: name, State: string(standing), Reason: reason, Version: p.Version, Platforms: []string{p.Platform}, CPUs: p.CPUs, Memory: p.Memory,
				Toolchains: p.builds(), Since: p.since, Seen: p.seen.UTC(), Built: p.built, Failed: p.failed}
			if usable && h.alive(p) {
				pool.Slots += p.Slots
			}
		}
		switch there := p != nil && h.alive(p); {
		case w.State == string(Active) && there:
			w.State, w.Reason = "idle", h.idles(p)
		case w.State == string(Active):
			w.State = "away"
		}
		rows := len(pool.Workers)
		for _, t := range h.tasks {
			if t.worker != name {
				continue
			}
			busy := w
			busy.Build, busy.Path, busy.Since = t.job.ID, t.job.Recipe.Path(), t.begun
			if w.State == "idle" {
				busy.State = "busy"
			}
			pool.Workers = append(pool.Workers, busy)
			pool.Busy++
		}
		if len(pool.Workers) == rows {
			pool.Workers = append(pool.Workers, w)
		}
		slices.SortFunc(pool.Workers[rows:], func(a, b builder.Worker) int { return a.Since.Compare(b.Since) })
	}
	return pool
}

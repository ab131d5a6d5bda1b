package service

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"k6x/builder/remote"
	"k6x/history"
	"k6x/service/pages"
)

// State is what the parts of a service know of themselves. /status has it.
type State struct {
	Queue  Queue
	Stores []CacheStatus
	Caches []CacheStatus
	Disks  []Disk
}

const (
	recentFailures = 10
	recentBuilds   = 500 // that are looked at for services
	mostReplicas   = 100
	scarceDisk     = 20 // a disk with less than one part in so many free is told of
)

// status answers GET of /status. What names modules is for those who may see what came of builds.
func (s *Service) status(w *response, r *http.Request) error {
	w.outcome = "status"
	v := &Status{
		Time: time.Now().UTC(), Version: s.cfg.Version, Started: s.started, Hidden: s.mayRead(r) != nil,
		Services: []Replica{}, Parts: []Part{}, Registries: s.cfg.Resolver.Sources(), Requests: s.metrics.counted(),
		Stores: []CacheStatus{}, Caches: []CacheStatus{}, Disks: []Disk{},
	}
	select {
	case <-s.draining:
		v.Draining = true
	default:
	}
	if s.cfg.Parts != nil {
		v.Parts = s.cfg.Parts()
	}
	if s.cfg.State != nil {
		state := s.cfg.State()
		v.Queue, v.Stores = state.Queue, append(v.Stores, state.Stores...)
		v.Caches, v.Disks = append(v.Caches, state.Caches...), append(v.Disks, state.Disks...)
	}
	if len(v.Stores) > 0 { // what was asked for is looked for in the first
		v.Stores[0].Count(v.Requests.Hits, v.Requests.Built+v.Requests.Failed)
	}
	s.addBuilds(v)
	v.Problems = s.troubles(v)
	v.Works = len(v.Problems) == 0
	return s.show(w, r, "status", v)
}

// Count notes how much was asked for, and found.
func (c *CacheStatus) Count(hits, misses int64) {
	c.Counted, c.Hits, c.Misses = true, hits, misses
	if hits+misses > 0 {
		c.Ratio = float64(hits) / float64(hits+misses)
	}
}

// addBuilds adds what the history has: what runs, what failed, and which services there are.
func (s *Service) addBuilds(v *Status) {
	pool := Pool{Name: "local", Slots: s.cfg.Version.Limits.MaxBuilds, Workers: []Worker{}}
	b := s.cfg.Builds
	if b.History != nil {
		running := b.Recorder.Running()
		v.Service = b.Recorder.Service()
		for _, result := range running {
			if result.Outcome == history.Running && result.Started() && result.Worker == "" {
				pool.Workers = append(pool.Workers, s.worker(result, v.Hidden))
			}
		}
		slices.SortFunc(pool.Workers, func(a, b Worker) int { return a.Since.Compare(b.Since) })
		v.Services = replicas(v.Service, v.Time, append(running, b.Live.Running()...), b.History.Newest("", recentBuilds), b.Live.Services())
		if !v.Hidden {
			failed, _ := b.History.Results(history.Filter{Outcome: history.Failed, Limit: recentFailures})
			for _, n := range failed {
				v.Failures = append(v.Failures, n.Result)
			}
		}
	}
	pool.Busy = len(pool.Workers)
	for len(pool.Workers) < pool.Slots {
		idle := Worker{State: "idle"}
		if v.Draining {
			idle.State = "drained"
		}
		pool.Workers = append(pool.Workers, idle)
	}
	v.Pools = []Pool{pool}
	s.addWorkers(v)
}

// worker returns the slot that a build has.
func (s *Service) worker(r *history.Result, hidden bool) Worker {
	w := Worker{State: "busy", Since: r.Begun.Add(time.Duration(r.Queued))}
	s.addStep(&w, r.Path)
	if !hidden {
		w.Build, w.Path = r.ID, r.Path
	}
	return w
}

// addStep adds how far the build of a path is.
func (s *Service) addStep(w *Worker, path string) {
	if s.cfg.Progress != nil {
		if e, ok := s.cfg.Progress(path); ok && e.Step != 0 {
			w.Step, w.Done, w.Total = e.Step.String(), e.Done, e.Total
		}
	}
}

// replicas returns the services that live, and those that built something lately, the one of that id first.
func replicas(self string, now time.Time, running []*history.Result, recent []history.Numbered, living map[string]time.Time) []Replica {
	byID := map[string]*Replica{self: {ID: self, Self: true, Seen: now}}
	of := func(id string) *Replica {
		if byID[id] == nil && len(byID) < mostReplicas {
			byID[id] = &Replica{ID: id}
		}
		return cmp.Or(byID[id], new(Replica))
	}
	for id, seen := range living {
		if id != self {
			of(id).Seen = seen
		}
	}
	for _, r := range running {
		if r.Outcome == history.Running && r.Service != "" {
			of(r.Service).Running++
			of(r.Service).Seen = now
		}
	}
	for _, n := range recent {
		if n.Result == nil || n.Result.Service == "" {
			continue
		}
		replica := of(n.Result.Service)
		if replica.Builds++; n.Result.Outcome == history.Failed {
			replica.Failed++
		}
		if last := n.Result.Last().Time; last.After(replica.Seen) {
			replica.Seen = last
		}
	}
	list := make([]Replica, 0, len(byID))
	for _, replica := range byID {
		list = append(list, *replica)
	}
	slices.SortFunc(list, func(a, b Replica) int {
		switch {
		case a.Self != b.Self && a.Self:
			return -1
		case a.Self != b.Self:
			return 1
		}
		return cmp.Or(b.Seen.Compare(a.Seen), strings.Compare(a.ID, b.ID))
	})
	return list
}

// troubles says what is wrong, and what to do.
func (s *Service) troubles(v *Status) (list []Trouble) {
	add := func(kind, code string, values ...any) {
		list = append(list, Trouble{Kind: kind, Code: code, Values: values, Message: s.texts.Say("problem."+code, values...), Hint: s.texts["remedy."+code]})
	}
	for _, part := range v.Parts {
		if !part.Works {
			list = append(list, Trouble{Kind: part.Name, Code: part.Name, Message: part.Message, Hint: s.texts["remedy."+part.Name], Since: part.Since})
		}
	}
	if v.Draining {
		add("draining", "draining")
	}
	if q := v.Queue; q.Limit > 0 && q.Waiting >= q.Limit {
		add("queue", "queue_full", q.Waiting)
	}
	if timeout := v.Version.Limits.BuildTimeout; timeout > 0 && time.Duration(v.Queue.Oldest) > time.Duration(timeout)*time.Second {
		add("queue", "queue_slow", v.Queue.Oldest)
	}
	for _, pool := range v.Pools[1:] {
		if pool.Slots+v.Pools[0].Slots == 0 {
			add("workers", "workers_none")
		}
		for _, w := range pool.Workers {
			if w.State == string(remote.Quarantined) {
				add("workers", "workers_quarantined", w.Name, w.Reason)
			}
		}
	}
	for _, store := range v.Stores {
		if store.Full != "" {
			add("store", "store_full", store.Full)
		}
	}
	for _, disk := range v.Disks {
		if disk.Size > 0 && disk.Free < disk.Size/scarceDisk && !slices.ContainsFunc(v.Parts, func(p Part) bool { return p.Name == "disk" && !p.Works }) {
			add("disk", "disk_scarce", disk.Name, pages.Bytes(disk.Free))
		}
	}
	return list
}

// counted returns what was counted since the start.
func (m *Metrics) counted() (c Requests) {
	families, _ := m.totals.Gather() // of counters
	for _, family := range families {
		for _, one := range family.GetMetric() {
			n := int64(one.GetCounter().GetValue())
			switch {
			case family.GetName() == requestsTotal:
				c.All += n
			case family.GetName() == hitsTotal:
				c.Hits += n
			case one.GetLabel()[0].GetValue() == success:
				c.Built += n
			default:
				c.Failed += n
			}
		}
	}
	return c
}

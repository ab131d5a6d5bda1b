package event

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
)

// Bounds of what a [Stream] keeps.
const (
	maxEnded    = 256      // jobs that have ended
	maxUnderWay = 10_000   // jobs that have not; there are no more than a queue has room for
	maxEvents   = 256      // of one job
	maxOutput   = 64 << 10 // bytes of one event of type Output
)

// Stream keeps the last events of each job that is under way, and of the last that have ended, for subscribers. No subscriber
// holds up a build: one that is slow misses events that had to make room. The zero value is ready.
type Stream struct {
	mu      sync.Mutex // guards what follows
	jobs    map[string]*history
	ended   []string         // jobs that have ended, the oldest first
	running map[string]Event // the last of Started and Progress, by path, until Finished
}

// history is what is kept of one job.
type history struct {
	events  []Numbered
	last    int // number
	ended   bool
	changed chan struct{} // closed when there is more
}

// Numbered is an event with its place among those of its job.
type Numbered struct {
	Number int `json:"number"`
	Event  `json:"event"`
}

// Publish is the [Sink] of the stream.
func (s *Stream) Publish(e Event) { s.Copy(Numbered{Event: e}) }

// Copy takes an event of another stream under the number that it has there, unless there is a later one; number 0 is the next.
func (s *Stream) Copy(e Numbered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs == nil {
		s.jobs, s.running = make(map[string]*history), make(map[string]Event)
	}
	switch e.Type {
	case Started, Progress:
		s.running[e.Path] = e.Event
	case Finished:
		delete(s.running, e.Path)
	}
	h := s.jobs[e.Job]
	if h == nil {
		if len(s.jobs)-len(s.ended) >= maxUnderWay {
			return
		}
		h = &history{changed: make(chan struct{})}
		s.jobs[e.Job] = h
	}
	if h.ended {
		return
	}
	h.add(e)
	if !h.ended {
		return
	}
	if s.ended = append(s.ended, e.Job); len(s.ended) > maxEnded {
		delete(s.jobs, s.ended[0])
		s.ended = s.ended[1:]
	}
}

// Running returns how far the build of a canonical path is, which is an event of type Started or Progress, and
// whether an engine works on it.
func (s *Stream) Running(path string) (Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.running[path]
	return e, ok
}

// Known reports whether events of a job are kept.
func (s *Stream) Known(job string) bool { return s.history(job) != nil }

// Subscribe returns the events of a job with their numbers, from the one behind number after: those of the past that are kept,
// then the others as they come, until the job ends, or ctx does. Of Progress within a step only the last is kept. A job that is not known
// has none.
func (s *Stream) Subscribe(ctx context.Context, job string, after int) iter.Seq2[int, Event] {
	return func(yield func(int, Event) bool) {
		h := s.history(job)
		if h == nil {
			return
		}
		for seen := after; ; {
			fresh, ended, changed := s.after(h, seen)
			for _, e := range fresh {
				if seen = e.Number; !yield(e.Number, e.Event) {
					return
				}
			}
			if ended {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// After returns the events of a job behind a number that are kept.
func (s *Stream) After(job string, number int) (fresh []Numbered) {
	if h := s.history(job); h != nil {
		fresh, _, _ = s.after(h, number)
	}
	return fresh
}

// history returns what is kept of a job, nil if nothing is.
func (s *Stream) history(job string) *history {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[job]
}

// after returns the events with a higher number than seen, whether there will be no others, and what is closed when
// there are.
func (s *Stream) after(h *history, seen int) (fresh []Numbered, ended bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := slices.IndexFunc(h.events, func(e Numbered) bool { return e.Number > seen }); at >= 0 {
		fresh = slices.Clone(h.events[at:])
	}
	return fresh, h.ended, h.changed
}

// add adds an event. The caller holds the lock of the stream.
func (h *history) add(e Numbered) {
	if e.Number == 0 {
		e.Number = h.last + 1
	}
	if e.Number <= h.last {
		return
	}
	h.last = e.Number
	if len(e.Output) > maxOutput {
		e.Output = strings.Clone(strings.ToValidUTF8(e.Output[:maxOutput], ""))
	}
	if e.Failure != nil { // its output is an event of its own, its cause is for the log
		failure := *e.Failure
		failure.Output, failure.Err = "", nil
		e.Failure = &failure
	}
	n := len(h.events)
	switch {
	case n > 0 && e.Type == Progress && h.events[n-1].Type == Progress && h.events[n-1].Step == e.Step:
		h.events = h.events[:n-1]
	case n == maxEvents:
		h.events = slices.Delete(h.events, 0, 1)
	}
	h.events = append(h.events, e)
	close(h.changed)
	if h.ended = e.Type == Stored || e.Type == Failed; !h.ended {
		h.changed = make(chan struct{})
	}
}

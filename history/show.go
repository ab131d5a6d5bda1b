package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k6x"
	"k6x/event"
)

const (
	maxShown = 8 << 20         // bytes of one build; from there on without output and progress
	graceful = 10              // looks after its end for which those who follow a build have time to read it
	settling = 300             // looks after its end for which the result of a build may take to come into the history
	giveTime = 5 * time.Second // that giving a lease back is waited for
)

// own are the builds of this service.
type own struct {
	shown   map[string]*shown // that the others can see; of Run alone, as is release
	release func(*k6x.Error)  // gives the lease back; nil: it is not held
	listed  atomic.Pointer[listing]

	mu    sync.Mutex      // guards ended
	ended map[string]bool // that are to be removed
}

// listing is which builds of this service were in the bucket when all were listed.
type listing struct {
	begun time.Time
	ids   map[string]bool
}

// shown is a build of this service that the others can see.
type shown struct {
	result  *Result
	round   int       // how often it was written anew
	head    []byte    // as it is written; nil: it is not
	headed  time.Time // when it was written
	number  int       // of the last blob of events
	seen    int       // number of the last event in one
	bytes   int       // of all
	pending []byte    // the next one, until it is written
	wrote   time.Time // the last one
	ended   time.Time // when all that there is was written
}

// again has a build written from its first event on.
func (s *shown) again() { *s = shown{result: s.result, round: s.round + 1} }

// giveBack gives a lease back, and waits for that unless the bucket is away.
func giveBack(ctx context.Context, release func(*k6x.Error)) {
	ctx, cancel := context.WithTimeout(ctx, giveTime)
	released := make(chan struct{})
	go func() {
		release(nil)
		close(released)
	}()
	select {
	case <-released:
	case <-ctx.Done():
	}
	cancel()
}

// show writes what is new of the builds of this service, and has those removed that have ended. What goes wrong with one does not keep it from
// the others.
func (l *Live) show(ctx context.Context) (failed error) {
	now, running := time.Now(), make(map[string]bool)
	for _, r := range l.cfg.Recorder.Running() {
		if r.Outcome != Running {
			continue
		}
		running[r.ID] = true
		if s := l.own.shown[r.ID]; s != nil {
			s.result = r
		} else if now.Sub(r.Begun) >= l.cfg.Every {
			l.own.shown[r.ID] = &shown{result: r}
		}
	}
	if len(l.own.shown) > 0 && l.own.release == nil {
		_, release, err := l.cfg.Leases.Acquire(ctx, l.lease)
		if err != nil {
			return err
		}
		l.own.release = release
	}
	listed := l.own.listed.Swap(nil)
	for id, s := range l.own.shown {
		if s.ended.IsZero() {
			removed := listed != nil && !listed.ids[id] && s.head != nil && s.headed.Before(listed.begun)
			failed = cmp.Or(failed, l.write(ctx, s, running[id], removed))
		} else if l.over(s, now.Sub(s.ended)) {
			l.remove(id)
			delete(l.own.shown, id)
		}
	}
	if len(l.own.shown) == 0 && l.own.release != nil && len(l.toRemove()) == 0 {
		giveBack(context.WithoutCancel(ctx), l.own.release)
		l.own.release = nil
	}
	return failed
}

// over reports whether others need not see a build any more that ended a while ago: its result, of which there is one if an engine came to it, is in
// the history, or takes too long to come there.
func (l *Live) over(s *shown, ago time.Duration) bool {
	return ago > graceful*l.cfg.Every && (!s.result.started || l.cfg.Recorder.history.settled(s.result.ID) || ago > settling*l.cfg.Every)
}

// clean removes builds of this service that have ended.
func (l *Live) clean(ctx context.Context) (failed error) {
	for _, id := range l.toRemove() {
		err := l.bucket.remove(ctx, id)
		if err == nil {
			l.own.mu.Lock()
			delete(l.own.ended, id)
			l.own.mu.Unlock()
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// remove has clean remove a build.
func (l *Live) remove(id string) {
	l.own.mu.Lock()
	defer l.own.mu.Unlock()
	l.own.ended[id] = true
}

func (l *Live) toRemove() []string {
	l.own.mu.Lock()
	defer l.own.mu.Unlock()
	return slices.Collect(maps.Keys(l.own.ended))
}

// write writes what is new of one build, unless it was just written, or seldom has to be as the build takes long; and all of it if another service
// took this one for dead, and has removed it.
func (l *Live) write(ctx context.Context, s *shown, running, removed bool) error {
	now, pause := time.Now(), l.cfg.Every
	if running {
		pause = max(pause, now.Sub(s.result.Begun)/100)
	}
	if now.Sub(s.wrote) < pause && !removed {
		return nil
	}
	text, err := l.encodeHead(s)
	if err == nil && !bytes.Equal(text, s.head) && s.head != nil && !removed {
		var there bool
		there, err = l.bucket.hasHead(ctx, s.result.ID)
		removed = !there
	}
	if err == nil && removed {
		if err = l.bucket.remove(ctx, s.result.ID); err == nil { // events that were written since
			s.again()
			text, err = l.encodeHead(s)
		}
	}
	if err == nil && len(text) <= maxHead && !bytes.Equal(text, s.head) {
		if err = l.bucket.putHead(ctx, s.result.ID, text); err == nil {
			s.head, s.headed = text, time.Now()
		}
	}
	if err != nil {
		return err
	}
	if s.pending == nil && s.head != nil { // else it may be there, and be read
		s.pending = l.encode(s)
	}
	if s.pending == nil {
		if !running {
			s.ended = now
		}
		return nil
	}
	if err := l.bucket.putChunk(ctx, s.result.ID, s.number+1, s.pending); err != nil {
		return err
	}
	s.number, s.bytes, s.pending, s.wrote = s.number+1, s.bytes+len(s.pending), nil, now
	return nil
}

func (l *Live) encodeHead(s *shown) ([]byte, error) {
	return json.Marshal(head{Lease: l.lease, Started: s.result.started, Round: s.round, Result: s.result})
}

// encode returns the events that were not written, as many as one blob may have; nil: there are none.
func (l *Live) encode(s *shown) []byte {
	var text bytes.Buffer
	for _, e := range l.cfg.Events.After(s.result.ID, s.seen) {
		s.result.started = s.result.started || e.Type == event.Started
		if s.bytes+text.Len() > maxShown && (e.Type == event.Output || e.Type == event.Progress) {
			s.seen = e.Number
			continue
		}
		e.Client, e.Trace = "", ""
		line, err := json.Marshal(e)
		if err == nil && len(line) < maxChunk { // else it is left out
			if text.Len()+len(line) >= maxChunk {
				break
			}
			text.Write(append(line, '\n'))
		}
		s.seen = e.Number
	}
	return text.Bytes() // nil if there is nothing
}

package builder

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dustin/go-humanize/english"

	"k6x"
	"k6x/event"
)

// Bounds of the wait that a client is given with a refusal.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

const (
	maxLost   = 3               // workers that a build may take with it
	maxTries  = 10              // of a build that workers lose or give back
	maxTaken  = 1000            // places that another service has taken first
	askPlaces = 5 * time.Second // how often it is asked whether a build that waits can be built at all
)

// LimitConfig says how many builds may run and wait.
type LimitConfig struct {
	Slots  int        // builds that run at once; 0: 1
	Places Places     // where they run; nil: on this machine, in Slots
	Queue  int        // builds that wait, and as many in the background; 0: 100, negative: none may wait
	Leases Leaser     // of services that share a store; nil: no other builds for it
	Events event.Sink // takes those of type Queued; nil: no events are wanted
}

// Limit is a [Builder] that runs so many builds at once and lets so many wait. The
// next to run is taken from the clients in turn, so that one with many
// builds does not keep the others waiting; builds of one client run in the order they came.
//
// When the queue is full the error is of kind [k6x.Busy]; when one client has more than
// a quarter of the queue waiting it is of kind [k6x.Quota]. Both say when to try again.
//
// A job in the [Background] waits in a line of its own, which is as long. It
// starts when no other build waits, and only if it leaves a slot free or is alone: it may run for
// minutes and is not stopped, and a client that comes meanwhile should find a slot. Once a client waits
// for it, which [Dedup] says, it moves to that client's line, full or not.
//
// A build that its worker does not end ([Lost]) is the next of its client's to run, elsewhere if it can be, until it was lost by three workers.
//
// With leases, a key is built only while no other service builds it. No build that waits for another service takes up
// a slot. Next has to look into the store first, as [Keep] does. A rebuild needs no lease: it changes nothing.
type Limit struct {
	next   Builder
	places Places
	queue  int
	leases Leaser
	events event.Sink

	mu      sync.Mutex // guards what is below, and all tickets
	running int
	waiting line          // builds that a client waits for
	behind  line          // builds in the background
	average time.Duration // of recent builds
}

var _ Builder = (*Limit)(nil)

// NewLimit returns a limited next.
func NewLimit(next Builder, cfg LimitConfig) *Limit {
	places := cfg.Places
	if places == nil {
		places = &slots{max(1, cfg.Slots), max(1, cfg.Slots)}
	}
	return &Limit{next: next, places: places, queue: max(0, cmp.Or(cfg.Queue, 100)), leases: cfg.Leases, events: cfg.Events}
}

// LimitStats counts builds.
type LimitStats struct {
	Running int // in the background or not
	Waiting int
	Behind  int           // that wait in the background
	Oldest  time.Duration // how long the one of Waiting that came first has waited; 0 if none waits
}

// Stats returns how many builds run and wait now.
func (l *Limit) Stats() LimitStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LimitStats{Running: l.running, Waiting: l.waiting.count, Behind: l.behind.count, Oldest: l.waiting.age()}
}

// Build waits for a slot and builds. While it waits, the end of ctx frees its place.
func (l *Limit) Build(ctx context.Context, job Job) (k6x.Artifact, error) {
	t := &ticket{client: job.Client, background: job.Priority == Background, since: time.Now(), job: job}
	defer job.claim.notify(func(client string) { l.promote(t, client) })()
	if l.leases != nil && !job.Rebuild {
		return l.leased(ctx, job, t)
	}
	return l.run(ctx, job, t)
}

// promote makes a ticket one of client's, or leaves it to its own client if that is "".
func (l *Limit) promote(t *ticket, client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.background {
		return
	}
	waits := l.behind.remove(t)
	t.client, t.background = cmp.Or(client, t.client), false
	switch {
	case waits && t.slots == 0: // it need not wait for room
		close(t.turn)
	case waits:
		l.waiting.add(t)
		l.advance()
	}
}

// Wake is to be called when there may be free places that were not given back by a build here.
func (l *Limit) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance()
}

// run waits for a slot and builds, and does so again if the machine of the slot goes away.
func (l *Limit) run(ctx context.Context, job Job, t *ticket) (k6x.Artifact, error) {
	faults, backs := make(map[string]bool), make(map[string]bool) // by worker
	var failure *k6x.Error
	for tries, taken := 0, 0; ; {
		artifact, err := l.once(ctx, job, t)
		lost, ok := errors.AsType[*Lost](err)
		if !ok || ctx.Err() != nil {
			return artifact, err
		}
		if t.again = true; lost.Taken && taken < maxTaken {
			taken++
			continue
		}
		tries++
		alone := faults[lost.Worker] // there was no other place
		if lost.Back && !backs[lost.Worker] {
			backs[lost.Worker] = true
		} else {
			t.job.Avoid = append(t.job.Avoid, lost.Worker)
		}
		if !lost.Back {
			faults[lost.Worker], failure = true, cmp.Or(lost.Failure, failure)
		}
		switch {
		case failure != nil && !lost.Back && (alone || len(faults) == maxLost):
			return k6x.Artifact{}, failure
		case len(faults) == maxLost:
			return k6x.Artifact{}, k6x.Errorf(k6x.BuildFailed, "%d workers were lost one after the other while they built this, the last one was %s", maxLost, lost.Worker).
				WithHint("What is built may take more than they have; the operator finds why they ended in their logs.").WithCause(err)
		case tries == maxTries:
			return k6x.Artifact{}, k6x.Errorf(k6x.Unavailable, "workers gave this build back or were lost %d times, the last one was %s", tries, lost.Worker).WithRetry(maxRetry).WithCause(err)
		}
	}
}

// once waits for a slot and builds.
func (l *Limit) once(ctx context.Context, job Job, t *ticket) (k6x.Artifact, error) {
	if err := ctx.Err(); err != nil {
		return k6x.Artifact{}, err
	}
	if err := l.enter(t, 1); err != nil {
		return k6x.Artifact{}, err
	}
	select {
	case <-t.turn:
	default:
		l.events.Send(job.event(event.Queued))
	}
	if err := l.wait(ctx, t); err != nil {
		l.leave(t)
		return k6x.Artifact{}, err
	}
	start := time.Now()
	defer func() { l.release(t, time.Since(start)) }()
	job.Client, job.Priority = l.owner(t)
	job.Worker = t.worker
	return l.next.Build(ctx, job)
}

// owner returns the client that a ticket is of by now, and with which priority.
func (l *Limit) owner(t *ticket) (client string, priority Priority) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.background {
		return t.client, Background
	}
	return t.client, Foreground
}

// wait waits for the turn of a ticket.
func (l *Limit) wait(ctx context.Context, t *ticket) error {
	select {
	case <-t.turn:
		return nil
	default:
	}
	var ask <-chan time.Time
	if _, fixed := l.places.(*slots); !fixed {
		ticker := time.NewTicker(askPlaces)
		defer ticker.Stop()
		ask = ticker.C
	}
	for {
		select {
		case <-t.turn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ask:
			if err := l.places.Able(t.job); err != nil {
				return err
			}
			if len(t.job.Avoid) > 0 { // the other places may be gone, of which nobody tells
				l.Wake()
			}
		}
	}
}

// room waits until a build in the background could start now, or is not in the background any more. It takes no slot.
func (l *Limit) room(ctx context.Context, t *ticket) error {
	if _, priority := l.owner(t); priority != Background {
		return ctx.Err()
	}
	if err := l.enter(t, 0); err != nil {
		return err
	}
	err := l.wait(ctx, t)
	l.leave(t)
	return err
}

// enter takes a place in a line, which may have its turn at once. The turn takes so many slots.
func (l *Limit) enter(t *ticket, slots int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slots == 0 && !t.background { // promoted meanwhile: it need not wait for room
		t.slots, t.turn = 0, make(chan struct{})
		close(t.turn)
		return nil
	}
	t.slots, t.turn = slots, make(chan struct{})
	mine := &l.waiting
	if t.background {
		mine = &l.behind
	}
	mine.add(t)
	l.advance()
	err := l.tooMany(mine, t)
	if err != nil {
		mine.remove(t)
	}
	return err
}

// tooMany returns an error if a ticket waits in a line that has no room for it. The caller holds mu.
func (l *Limit) tooMany(mine *line, t *ticket) error {
	waits, clients := mine.has(t), l.waiting.count
	if !t.background {
		clients--
	}
	if n := mine.of(t.client) - 1; waits && l.queue > 0 && !t.background && !t.again && n >= max(1, l.queue/4) {
		return k6x.Errorf(k6x.Quota, "this client has %s waiting, which is all it may have", english.Plural(n, "build", "")).WithRetry(l.retryAfter(clients))
	}
	if n := mine.count - 1; waits && !t.again && n >= l.queue {
		return k6x.Errorf(k6x.Busy, "%s running and %d waiting; there is no room for more", english.Plural(l.running, "build", ""), n).WithRetry(l.retryAfter(clients))
	}
	return nil
}

// leave gives up a place, or the slot if one was handed over meanwhile.
func (l *Limit) leave(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.waiting.remove(t) && !l.behind.remove(t) {
		l.free(t)
	}
}

func (l *Limit) release(t *ticket, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.average == 0 {
		l.average = took
	}
	l.average += (took - l.average) / 4
	l.free(t)
}

// free gives back what the turn of a ticket took. The caller holds mu.
func (l *Limit) free(t *ticket) {
	if t.slots > 0 {
		l.running--
		l.places.Release(t.worker)
	}
	l.advance()
}

// advance hands free slots over to those whose turn it is. The caller holds mu.
func (l *Limit) advance() {
	for {
		t := l.waiting.next(l.take)
		if t == nil && l.spare() {
			t = l.behind.next(l.take)
		}
		if t == nil {
			return
		}
		close(t.turn)
	}
}

// take takes the slot for a ticket, unless none fits. The caller holds mu.
func (l *Limit) take(t *ticket) (ok bool) {
	if t.slots == 0 {
		return true
	}
	if t.worker, ok = l.places.Take(t.job); ok {
		l.running++
	}
	return ok
}

// spare reports whether there is a slot for a build in the background, if no other waits. The caller
// holds mu.
func (l *Limit) spare() bool {
	_, free := l.places.Count()
	return free > 1 || free > 0 && l.running == 0
}

// retryAfter guesses when the queue will have moved on, in which so many clients' builds wait. The caller holds mu.
func (l *Limit) retryAfter(waiting int) time.Duration {
	all, _ := l.places.Count()
	guess := l.average * time.Duration(waiting+1) / time.Duration(max(1, all))
	return min(max(guess.Round(time.Second), minRetry), maxRetry)
}

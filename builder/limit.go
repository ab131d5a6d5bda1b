package builder

import (
	"cmp"
	"context"
	"sync"
	"time"

	"k6x"
)

// Bounds of what a client that is turned away is told to wait.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// LimitConfig says how many builds may run and wait.
type LimitConfig struct {
	Slots int // builds that run at once; 0: 1
	Queue int // builds that wait, and as many in the background; 0: 100, negative: none may wait
}

// Limit is a [Builder] that runs so many builds at once and lets so many wait. The
// next to run is taken from the clients ([WithClient]) in turn, so that one with many
// builds does not keep the others waiting; builds of one client run in the order they came.
//
// When the queue is full the error is of kind [k6x.Busy]; when one client has more than
// a quarter of the queue waiting it is of kind [k6x.Quota]. Both say when to try again.
//
// A build in the background ([WithBackground]) waits in a line of its own, which is as long. It
// starts when no other build waits, and only if it leaves a slot free or is alone: it may run for
// minutes and is not stopped, and whoever comes meanwhile should find a slot. Once somebody waits
// for it, it moves to that client's line, full or not.
type Limit struct {
	next  Builder
	slots int
	queue int

	mu      sync.Mutex // guards what is below
	running int
	waiting line          // builds that somebody waits for
	behind  line          // builds in the background
	average time.Duration // of recent builds
}

var _ Builder = (*Limit)(nil)

// NewLimit returns a limited next.
func NewLimit(next Builder, cfg LimitConfig) *Limit {
	return &Limit{next: next, slots: max(1, cfg.Slots), queue: max(0, cmp.Or(cfg.Queue, 100))}
}

// LimitStats counts builds.
type LimitStats struct {
	Running int // in the background or not
	Waiting int
	Behind  int // that wait in the background
}

// Stats returns how many builds run and wait now.
func (l *Limit) Stats() LimitStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LimitStats{Running: l.running, Waiting: l.waiting.count, Behind: l.behind.count}
}

// Build waits for a slot and builds. While it waits, the end of ctx frees its place.
func (l *Limit) Build(ctx context.Context, recipe k6x.Recipe) (k6x.Artifact, error) {
	if err := l.acquire(ctx); err != nil {
		return k6x.Artifact{}, err
	}
	start := time.Now()
	defer func() { l.release(time.Since(start)) }()
	return l.next.Build(ctx, recipe)
}

func (l *Limit) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wanted := wanted(ctx)
	t, err := l.enter(Client(ctx), Background(ctx), 1)
	if err != nil {
		return err
	}
	for {
		select {
		case <-t.turn:
			return nil
		case <-wanted:
			l.promote(t, Client(ctx))
			wanted = nil
		case <-ctx.Done():
			l.leave(t)
			return ctx.Err()
		}
	}
}

// room waits until a build of ctx, if it is in the background, could start now, or somebody waits
// for it. It takes no slot.
func (l *Limit) room(ctx context.Context) error {
	if !Background(ctx) {
		return ctx.Err()
	}
	t, err := l.enter(Client(ctx), true, 0)
	if err != nil {
		return err
	}
	select {
	case <-t.turn:
	case <-wanted(ctx):
	case <-ctx.Done():
	}
	l.leave(t)
	return ctx.Err()
}

// enter takes a place in a line, which may have its turn at once.
func (l *Limit) enter(client string, background bool, slots int) (*ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine, free := &l.waiting, l.running < l.slots
	if background {
		mine, free = &l.behind, l.spare()
	}
	if !free && l.queue > 0 && !background {
		if n := mine.of(client); n >= max(1, l.queue/4) {
			e := k6x.Errorf(k6x.Quota, "this client has %d builds waiting, which is all it may have", n).
				WithHint("Try again when one of them is done.")
			e.RetryAfter = l.retryAfter()
			return nil, e
		}
	}
	if !free && mine.count >= l.queue {
		e := k6x.Errorf(k6x.Busy, "%d builds are running and %d are waiting; there is no room for more", l.running, mine.count).
			WithHint("Try again a little later.")
		e.RetryAfter = l.retryAfter()
		return nil, e
	}
	t := &ticket{client: client, slots: slots, turn: make(chan struct{})}
	mine.add(t)
	l.advance()
	return t, nil
}

// promote moves a ticket that still waits in the background to the line of client.
func (l *Limit) promote(t *ticket, client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.behind.remove(t) {
		t.client = client
		l.waiting.add(t)
		l.advance()
	}
}

// leave gives up a place, or the slot if one was handed over meanwhile.
func (l *Limit) leave(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.waiting.remove(t) && !l.behind.remove(t) {
		l.running -= t.slots
		l.advance()
	}
}

func (l *Limit) release(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.average == 0 {
		l.average = took
	}
	l.average += (took - l.average) / 4
	l.running--
	l.advance()
}

// advance hands free slots over to those whose turn it is. The caller holds mu.
func (l *Limit) advance() {
	for l.running < l.slots {
		t := l.waiting.next()
		if t == nil && l.spare() {
			t = l.behind.next()
		}
		if t == nil {
			return
		}
		l.running += t.slots
		close(t.turn)
	}
}

// spare reports whether there is a slot for a build in the background, if no other waits. The caller
// holds mu.
func (l *Limit) spare() bool { return l.running == 0 || l.running < l.slots-1 }

// retryAfter guesses when the queue will have moved on. The caller holds mu.
func (l *Limit) retryAfter() time.Duration {
	guess := l.average * time.Duration(l.waiting.count+1) / time.Duration(l.slots)
	return min(max(guess.Round(time.Second), minRetry), maxRetry)
}

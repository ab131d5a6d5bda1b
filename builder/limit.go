package builder

import (
	"cmp"
	"context"
	"slices"
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
	Queue int // builds that wait; 0: 100, negative: none may wait
}

// Limit is a [Builder] that runs so many builds at once and lets so many wait. The
// next to run is taken from the clients ([WithClient]) in turn, so that one with many
// builds does not keep the others waiting; builds of one client run in the order they came.
//
// When the queue is full the error is of kind [k6x.Busy]; when one client has more than
// a quarter of the queue waiting it is of kind [k6x.Quota]. Both say when to try again.
type Limit struct {
	next  Builder
	slots int
	queue int

	mu      sync.Mutex // guards what is below
	running int
	waiting int
	turns   []string             // clients with waiting builds; the first has the next turn
	lines   map[string][]*ticket // their waiting builds
	average time.Duration        // of recent builds
}

// ticket is a place in the queue.
type ticket struct{ turn chan struct{} } // closed when a slot was handed over

var _ Builder = (*Limit)(nil)

// NewLimit returns a limited next.
func NewLimit(next Builder, cfg LimitConfig) *Limit {
	return &Limit{
		next:  next,
		slots: max(1, cfg.Slots),
		queue: max(0, cmp.Or(cfg.Queue, 100)),
		lines: make(map[string][]*ticket),
	}
}

// LimitStats counts builds.
type LimitStats struct {
	Running int
	Waiting int
}

// Stats returns how many builds run and wait now.
func (l *Limit) Stats() LimitStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LimitStats{Running: l.running, Waiting: l.waiting}
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
	client := Client(ctx)
	t, err := l.enter(client)
	if err != nil || t == nil {
		return err
	}
	select {
	case <-t.turn:
		return nil
	case <-ctx.Done():
		l.leave(client, t)
		return ctx.Err()
	}
}

// enter takes a slot, or a place in the queue if it returns a ticket.
func (l *Limit) enter(client string) (*ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running < l.slots {
		l.running++
		return nil, nil
	}
	line := l.lines[client]
	if share := max(1, l.queue/4); len(line) >= share && l.queue > 0 {
		e := k6x.Errorf(k6x.Quota, "this client has %d builds waiting, which is all it may have", len(line)).
			WithHint("Try again when one of them is done.")
		e.RetryAfter = l.retryAfter()
		return nil, e
	}
	if l.waiting >= l.queue {
		e := k6x.Errorf(k6x.Busy, "%d builds are running and %d are waiting; there is no room for more", l.running, l.waiting).
			WithHint("Try again a little later.")
		e.RetryAfter = l.retryAfter()
		return nil, e
	}
	t := &ticket{turn: make(chan struct{})}
	if len(line) == 0 {
		l.turns = append(l.turns, client)
	}
	l.lines[client] = append(line, t)
	l.waiting++
	return t, nil
}

// leave gives up a place, or the slot if one was handed over meanwhile.
func (l *Limit) leave(client string, t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lines[client]
	i := slices.Index(line, t)
	if i < 0 {
		l.handOver()
		return
	}
	l.waiting--
	if len(line) == 1 {
		delete(l.lines, client)
		l.turns = slices.DeleteFunc(l.turns, func(c string) bool { return c == client })
		return
	}
	l.lines[client] = slices.Delete(line, i, i+1)
}

func (l *Limit) release(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.average == 0 {
		l.average = took
	}
	l.average += (took - l.average) / 4
	l.handOver()
}

// handOver gives a slot that was freed to the next in turn. The caller holds mu.
func (l *Limit) handOver() {
	if len(l.turns) == 0 {
		l.running--
		return
	}
	client := l.turns[0]
	l.turns = l.turns[1:]
	line := l.lines[client]
	if len(line) > 1 {
		l.lines[client] = line[1:]
		l.turns = append(l.turns, client)
	} else {
		delete(l.lines, client)
	}
	l.waiting--
	close(line[0].turn)
}

// retryAfter guesses when the queue will have moved on. The caller holds mu.
func (l *Limit) retryAfter() time.Duration {
	guess := l.average * time.Duration(l.waiting+1) / time.Duration(l.slots)
	return min(max(guess.Round(time.Second), minRetry), maxRetry)
}

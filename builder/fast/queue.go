package fast

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// maxTasks bounds the queue: each task has a workspace with a binary.
	maxTasks = 4
	// maxPassed is how many builds may go before a task; then they wait for it, so that it is done at all.
	maxPassed = 3
	// maxHeld is how long builds wait for it then. A task that has not ended by then is given up.
	maxHeld = 30 * time.Second
	// rest is how long a task lets the client of the last build be alone with its binary, which is stored and sent.
	rest = 500 * time.Millisecond
)

// queue runs tasks in the background while nothing is built: one at a time, which a build that comes interrupts, to be run from its
// beginning when that build is over. So it takes neither memory nor time from a build.
type queue struct {
	log *slog.Logger

	mu            sync.Mutex // guards what follows
	left          time.Time  // when the last build was over
	builds        int        // under way, or about to begin once a task has ended that they have interrupted
	reserved      int        // places for tasks to come
	tasks         []*task
	running       bool // the first of them
	stop          context.CancelFunc
	interruptible bool // what runs
	closed        bool
	working       bool       // run is
	changed       *sync.Cond // of any of that; its lock is mu
}

// task is something to be done in the background.
type task struct {
	do     func(ctx context.Context) // may be called again if ctx ended
	end    func()                    // called once, whether it was done or not
	passed int                       // builds that went before it
}

// last reports whether builds wait for it now.
func (t *task) last() bool { return t.passed >= maxPassed }

func (t *task) context() (context.Context, context.CancelFunc) {
	if t.last() {
		return context.WithTimeout(context.Background(), maxHeld)
	}
	return context.WithCancel(context.Background())
}

func newQueue(log *slog.Logger) *queue {
	q := &queue{log: log}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// await waits for a change, or until ctx ends. The caller holds q.mu, but not meanwhile.
func (q *queue) await(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock() // which it has given up to wait
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})()
	if ctx.Err() == nil {
		q.changed.Wait()
	}
	return ctx.Err()
}

// enter waits until a build may begin, which calls leave when it is over.
func (q *queue) enter(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for counted := false; ; {
		urgent := len(q.tasks) > 0 && q.tasks[0].last()
		idle := !q.running && !urgent
		if !counted && (idle || q.running && q.interruptible) {
			counted = true
			q.builds++
			if len(q.tasks) > 0 {
				q.tasks[0].passed++
			}
			if q.running {
				q.stop()
				q.interruptible = false
			}
		}
		if counted && !q.running {
			return nil
		}
		if err := q.await(ctx); err != nil {
			if counted {
				q.builds--
				q.changed.Broadcast()
			}
			return err
		}
	}
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.builds--
	q.left = time.Now()
	q.changed.Broadcast()
}

// reserve keeps a place for a task, if there is one; add or release takes it.
func (q *queue) reserve() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.tasks)+q.reserved >= maxTasks {
		return false
	}
	q.reserved++
	return true
}

// release gives up a place that was reserved.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved--
}

// add adds a task for which there is a place.
func (q *queue) add(do func(context.Context), end func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved--
	q.tasks = append(q.tasks, &task{do: do, end: end})
	q.changed.Broadcast()
	if !q.working {
		q.working = true
		go q.run()
	}
}

func (q *queue) run() {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer func() {
		q.working = false
		q.changed.Broadcast()
	}()
	for len(q.tasks) > 0 {
		if q.builds > 0 && !q.closed {
			_ = q.await(context.Background())
			continue
		}
		t := q.tasks[0]
		last := t.last()
		if wait := rest - time.Since(q.left); wait > 0 && !q.closed && !last {
			resting, stop := context.WithTimeout(context.Background(), wait)
			_ = q.await(resting)
			stop()
			continue
		}
		ctx, stop := t.context()
		if q.closed {
			stop()
		} else {
			q.running, q.stop, q.interruptible = true, stop, !last
			q.mu.Unlock()
			q.try(ctx, t)
			q.mu.Lock()
			q.running, q.stop = false, nil
		}
		interrupted := ctx.Err() != nil
		stop()
		if !interrupted || last || q.closed {
			q.tasks = q.tasks[1:]
			q.mu.Unlock()
			t.end()
			q.mu.Lock()
		}
		q.changed.Broadcast()
	}
}

// try runs a task, the panic of which ends nothing else.
func (q *queue) try(ctx context.Context, t *task) {
	defer func() {
		if r := recover(); r != nil {
			q.log.Error("panic while learning from a build", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	t.do(ctx)
}

// Settle returns when no task is left, or when ctx ends.
func (q *queue) Settle(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.working {
		if q.await(ctx) != nil {
			return
		}
	}
}

// Close ends the task that runs; those that wait are not run any more.
func (q *queue) Close() {
	q.mu.Lock()
	q.closed = true
	if q.stop != nil {
		q.stop()
	}
	q.changed.Broadcast()
	q.mu.Unlock()
	q.Settle(context.Background())
}

package native

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// maxLater bounds what waits to be done later: each has a workspace with a binary.
	maxLater = 4
	// maxPassed is how many builds may go before what waits; then they wait for it, so that it is done at all.
	maxPassed = 3
	// maxHeld is how long builds wait for it then. What has not ended by then is not done.
	maxHeld = 30 * time.Second
)

// later does what nobody waits for while nothing is built: one thing at a time, which a build that comes cuts off, to be done from its
// beginning when that build is over. So it takes neither memory nor time from a build.
type later struct {
	log *slog.Logger

	mu       sync.Mutex // guards what follows
	builds   int        // under way
	coming   int        // builds that have cut something off, and begin when that has ended
	promised int        // things to come
	things   []*thing
	running  bool // the first of them
	stop     context.CancelFunc
	cuttable bool // what runs, by a build
	closed   bool
	working  bool          // run is
	changed  chan struct{} // closed at a change of any of that
}

// thing is something to be done.
type thing struct {
	do     func(ctx context.Context) // may be called again if ctx ended
	end    func()                    // called once, whether it was done or not
	passed int                       // builds that went before it
}

// last reports whether builds wait for it now.
func (t *thing) last() bool { return t.passed >= maxPassed }

func (t *thing) context() (context.Context, context.CancelFunc) {
	if t.last() {
		return context.WithTimeout(context.Background(), maxHeld)
	}
	return context.WithCancel(context.Background())
}

func newLater(log *slog.Logger) *later { return &later{log: log, changed: make(chan struct{})} }

// signal wakes those who wait for a change. The caller holds l.mu.
func (l *later) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// enter waits until a build may begin, which calls leave when it is over.
func (l *later) enter(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	cuts := false
	defer func() {
		if cuts {
			l.coming--
			l.signal()
		}
	}()
	for {
		urgent := len(l.things) > 0 && l.things[0].last()
		if !l.running && (cuts || !urgent) {
			l.builds++
			if len(l.things) > 0 && !cuts {
				l.things[0].passed++
			}
			return nil
		}
		if l.running && l.cuttable {
			l.stop()
			l.cuttable, cuts = false, true
			l.coming++
			l.things[0].passed++
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (l *later) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.builds--
	l.signal()
}

// promise keeps a place for a thing, if there is one; add or forgo takes it.
func (l *later) promise() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.things)+l.promised >= maxLater {
		return false
	}
	l.promised++
	return true
}

// forgo gives up a promised place.
func (l *later) forgo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised--
}

// add has a thing done for which there is a promise.
func (l *later) add(do func(context.Context), end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised--
	l.things = append(l.things, &thing{do: do, end: end})
	l.signal()
	if !l.working {
		l.working = true
		go l.run()
	}
}

func (l *later) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		l.working = false
		l.signal()
	}()
	for len(l.things) > 0 {
		if l.builds+l.coming > 0 && !l.closed {
			changed := l.changed
			l.mu.Unlock()
			<-changed
			l.mu.Lock()
			continue
		}
		t := l.things[0]
		last := t.last()
		ctx, stop := t.context()
		if l.closed {
			stop()
		} else {
			l.running, l.stop, l.cuttable = true, stop, !last
			l.mu.Unlock()
			l.try(ctx, t)
			l.mu.Lock()
			l.running, l.stop = false, nil
		}
		cut := ctx.Err() != nil
		stop()
		if !cut || last || l.closed {
			l.things = l.things[1:]
			l.mu.Unlock()
			t.end()
			l.mu.Lock()
		}
		l.signal()
	}
}

// try does a thing, the panic of which ends nothing else.
func (l *later) try(ctx context.Context, t *thing) {
	defer func() {
		if r := recover(); r != nil {
			l.log.Error("panic while learning from a build", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	t.do(ctx)
}

// wait returns when nothing is left to be done, or when ctx ends.
func (l *later) wait(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.working && ctx.Err() == nil {
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		l.mu.Lock()
	}
}

// close ends what is being done; what waits is not done any more.
func (l *later) close() {
	l.mu.Lock()
	l.closed = true
	if l.stop != nil {
		l.stop()
	}
	l.signal()
	l.mu.Unlock()
	l.wait(context.Background())
}

package native

import (
	"context"
	"sync"
)

// maxLater bounds what waits to be done later: each has a workspace with a binary.
const maxLater = 4

// later does what nobody waits for, one thing after another.
type later struct {
	ctx    context.Context // ends when the engine is closed
	cancel context.CancelFunc

	mu     sync.Mutex // guards what follows
	closed bool
	things []func(context.Context)
	idle   chan struct{} // closed when nothing is left to be done; nil when nothing is
}

func newLater() *later {
	l := new(later)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// add has f done later, and reports whether it will be.
func (l *later) add(f func(context.Context)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.things) >= maxLater {
		return false
	}
	l.things = append(l.things, f)
	if l.idle == nil {
		l.idle = make(chan struct{})
		go l.run()
	}
	return true
}

func (l *later) run() {
	for {
		l.mu.Lock()
		if len(l.things) == 0 {
			close(l.idle)
			l.idle = nil
			l.mu.Unlock()
			return
		}
		f := l.things[0]
		l.things = l.things[1:]
		l.mu.Unlock()
		f(l.ctx)
	}
}

// wait returns when nothing is left to be done, or when ctx ends.
func (l *later) wait(ctx context.Context) {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// close ends what is being done; each thing that waits is called with a context that has ended.
func (l *later) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wait(context.Background())
}

package history

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"sync"
	"time"

	"k6x/event"
)

// following is a build of another service that clients of this one follow.
type following struct {
	stream event.Stream
	begun  chan struct{} // closed when the stream has an event
	stop   context.CancelFunc
	users  int
}

// Subscribe returns the events of a build of another service, as [event.Stream.Subscribe] does. The bucket is asked once for all that
// follow one build.
func (l *Live) Subscribe(ctx context.Context, id string, after int) iter.Seq2[int, event.Event] {
	return func(yield func(int, event.Event) bool) {
		if l == nil {
			return
		}
		f := l.join(id)
		defer l.leave(id, f)
		select {
		case <-f.begun:
		case <-ctx.Done():
			return
		}
		f.stream.Subscribe(ctx, id, after)(yield)
	}
}

func (l *Live) join(id string) *following {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.followed[id]
	if f == nil {
		ctx, stop := context.WithCancel(context.Background())
		f = &following{begun: make(chan struct{}), stop: stop}
		l.followed[id] = f
		go l.follow(ctx, id, f)
	}
	f.users++
	return f
}

func (l *Live) leave(id string, f *following) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.users--; f.users == 0 {
		f.stop()
		delete(l.followed, id)
	}
}

// follow reads the events of a build until it ends, or ctx does.
func (l *Live) follow(ctx context.Context, id string, f *following) {
	begin := sync.OnceFunc(func() { close(f.begun) })
	copied := func(events ...event.Numbered) (ended bool) {
		for _, e := range events {
			f.stream.Copy(e)
			ended = e.Type == event.Stored || e.Type == event.Failed
			begin()
		}
		return ended
	}
	known := 0 // blobs that are there
	for info, err := range l.cfg.Bucket.List(ctx, chunks+id+"/") {
		if err == nil && info.Size > 0 {
			known++
		}
	}
	for number, absent := 1, 0; ctx.Err() == nil; {
		limited, cancel := context.WithTimeout(ctx, liveTime)
		events, _, err := l.chunk(limited, id, number)
		cancel()
		if err == nil {
			if copied(events...) {
				return
			}
			number, absent = number+1, 0
		} else if absent++; absent > 3 { // so that the last events come before what the result says
			r := l.cfg.Recorder.history.Result(id)
			if r == nil && absent%graceful == 0 {
				if _, err := l.head(ctx, id); errors.Is(err, fs.ErrNotExist) {
					r = &Result{ID: id}
					r.abort(time.Now().UTC())
				}
			}
			if r != nil {
				copied(event.Numbered{Event: r.Last()})
				return
			}
		}
		if (err != nil || number > known) && pause(ctx, l.cfg.Every) != nil {
			return
		}
	}
}

// pause waits, and returns the error of ctx if that ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

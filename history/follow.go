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

// patient is how many looks in a row for the next events of a build are in vain before it is asked for its result, so that those come first.
const patient = 4

// followed are the builds of other services that clients of this one follow.
type followed struct {
	mu     sync.Mutex // guards builds, and the users of each
	builds map[string]*following
}

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
	l.followed.mu.Lock()
	defer l.followed.mu.Unlock()
	f := l.followed.builds[id]
	if f == nil {
		ctx, stop := context.WithCancel(context.Background())
		f = &following{begun: make(chan struct{}), stop: stop}
		l.followed.builds[id] = f
		go l.follow(ctx, id, f)
	}
	f.users++
	return f
}

func (l *Live) leave(id string, f *following) {
	l.followed.mu.Lock()
	defer l.followed.mu.Unlock()
	if f.users--; f.users == 0 {
		f.stop()
		delete(l.followed.builds, id)
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
	limited, cancel := context.WithTimeout(ctx, liveTime)
	for info, err := range l.bucket.List(limited, chunks+id+"/") {
		if err == nil && info.Size > 0 {
			known++
		}
	}
	cancel()
	for number, absent, round := 1, 0, 0; ctx.Err() == nil; {
		limited, cancel := context.WithTimeout(ctx, liveTime)
		events, _, err := l.bucket.chunk(limited, id, number)
		var end *Result
		if err == nil {
			number, absent = number+1, 0
		} else if absent++; absent >= patient && l.cfg.Recorder.history.settled(id) {
			end = l.cfg.Recorder.history.Result(id)
		} else if absent%graceful == patient {
			var now int
			if end, now = l.ending(limited, id); now > round {
				number, round = 1, now
			}
		}
		cancel()
		if end != nil {
			events = []event.Numbered{{Event: end.Last()}}
		}
		if copied(events...) || (err != nil || number > known) && pause(ctx, l.cfg.Every) != nil {
			return
		}
	}
}

// ending returns the result of a build that is not shown any more; nil: it is, in the round that is returned, or that cannot be said.
func (l *Live) ending(ctx context.Context, id string) (end *Result, round int) {
	h, err := l.bucket.head(ctx, id)
	history := l.cfg.Recorder.history
	if !errors.Is(err, fs.ErrNotExist) || history.view.CatchUp(ctx) != nil { // its result may have come while the bucket was away
		return nil, h.Round
	}
	if end = history.Result(id); end == nil {
		end = &Result{ID: id}
		end.abort(time.Now().UTC())
	}
	return end, 0
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

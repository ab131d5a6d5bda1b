package bes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"k6x"
	"k6x/event"
	"k6x/event/bep"
	"k6x/event/bep/beptest"
	"k6x/event/bep/pb"
	"k6x/event/bes/bestest"
)

const redis = "/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6"

// run sends the events of a build.
func run(sink bep.Sink) {
	i := bep.Start(bep.Config{ID: "7b1d9a1e-0000-4000-8000-000000000000", Command: "build", Pattern: []string{redis}}, sink)
	i.Resolved(redis)
	i.Publish(event.Event{Path: redis, Type: event.Started})
	i.Publish(event.Event{Path: redis, Type: event.Output, Output: "note\n"})
	i.Publish(event.Event{Path: redis, Type: event.Finished})
	i.Publish(event.Event{Path: redis, Type: event.Stored, Size: 50})
	i.Finish(0, nil)
}

func count() int64 {
	n := int64(1) // the end of the stream
	run(func(*pb.BuildEvent) { n++ })
	return n
}

// send builds with a recorder as the backend, and returns how often it waited and the error of the stream.
func send(t *testing.T, r *bestest.Recorder, cfg Config) (waits int, err error) {
	t.Helper()
	cfg.Backend = "grpc://" + r.Start(t)
	cfg.wait = func(context.Context, time.Duration) error { waits++; return nil }
	c, err := Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := c.Open("b1d9a1e0-0000-4000-8000-000000000000", "7b1d9a1e-0000-4000-8000-000000000000")
	run(s.Publish)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = s.Close(ctx)
	return waits, err
}

func whole(t *testing.T, r *bestest.Recorder) {
	t.Helper()
	if err := beptest.Check(r.Events(t)); err != nil {
		t.Error(err)
	}
	if n, _ := r.Numbers(); int64(n) != count() {
		t.Errorf("%d events, want %d", n, count())
	}
}

func TestStreamArrives(t *testing.T) {
	r := &bestest.Recorder{}
	if _, err := send(t, r, Config{Lifecycle: true, Headers: []string{"X-Key=a=b"}}); err != nil {
		t.Fatal(err)
	}
	whole(t, r)
	want := []string{
		"*build.BuildEvent_BuildEnqueued_ 1 build ",
		"*build.BuildEvent_InvocationAttemptStarted_ 1 invocation ",
		"*build.BuildEvent_InvocationAttemptFinished_ 2 invocation COMMAND_SUCCEEDED",
		"*build.BuildEvent_BuildFinished_ 2 build COMMAND_SUCCEEDED",
	}
	if got := r.Order(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := r.Headers().Get("x-key"); !slices.Equal(got, []string{"a=b"}) {
		t.Errorf("header: got %q", got)
	}
}

// A stream that breaks at any event goes on there, whether the last acknowledgement arrived or not.
func TestBrokenStreamGoesOn(t *testing.T) {
	for number := range count() {
		for _, lost := range []int64{0, 1, 3} { // acknowledgements that get lost
			t.Run(fmt.Sprintf("after %d, %d lost", number+1, lost), func(t *testing.T) {
				t.Parallel()
				var broken atomic.Bool
				r := &bestest.Recorder{Took: func(n int64) (bool, error) {
					if n == number+1 && broken.CompareAndSwap(false, true) {
						return false, status.Error(codes.Unavailable, "broken")
					}
					return broken.Load() || n <= number+1-lost, nil
				}}
				waits, err := send(t, r, Config{})
				if err != nil {
					t.Fatal(err)
				}
				whole(t, r)
				if waits != 1 {
					t.Errorf("waited %d times", waits)
				}
			})
		}
	}
}

func TestStatuses(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			want := retries + 1
			if code == codes.InvalidArgument || code == codes.FailedPrecondition {
				want = 1
			}
			r := &bestest.Recorder{Opened: func() error { return status.Error(code, "no") }}
			_, err := send(t, r, Config{Lifecycle: true})
			if _, streams := r.Numbers(); err == nil || status.Code(errors.Unwrap(err)) != code && !strings.Contains(err.Error(), code.String()) || streams != want {
				t.Errorf("%d streams, %v", streams, err)
			}
			if got := r.Order(); len(got) != 4 {
				t.Errorf("the backend was not told of the end: %q", got)
			}
		})
	}
}

// Attempts count anew once a connection has brought an acknowledgement.
func TestStreamThatBreaksAgainAndAgain(t *testing.T) {
	r := &bestest.Recorder{}
	var mu sync.Mutex
	taken := make(map[int64]int)
	r.Took = func(n int64) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if taken[n]++; taken[n] < 3 {
			return false, status.Error(codes.Internal, "broken")
		}
		return true, nil
	}
	if _, err := send(t, r, Config{}); err != nil {
		t.Fatal(err)
	}
	whole(t, r)
}

func TestEndsThatAreErrors(t *testing.T) {
	for name, r := range map[string]*bestest.Recorder{
		"before it had acknowledged all": {Took: func(n int64) (bool, error) { return n < 5, nil }},
		"behind the last event":          {Ended: func() error { return status.Error(codes.Internal, "late") }},
		"event 6 was acknowledged":       {Took: func(n int64) (bool, error) { return n != 5, nil }},
	} {
		waits, err := send(t, r, Config{})
		if err == nil || !strings.Contains(err.Error(), name) || waits != 0 {
			t.Errorf("%s: got %v after %d waits", name, err, waits)
		}
	}
}

func TestLifecycleEventsAreTriedAgain(t *testing.T) {
	var calls atomic.Int32
	r := &bestest.Recorder{Lifecycle: func() error {
		if calls.Add(1)%3 != 0 {
			return status.Error(codes.Unavailable, "later")
		}
		return nil
	}}
	if _, err := send(t, r, Config{Lifecycle: true}); err != nil {
		t.Fatal(err)
	}
	whole(t, r)
}

// A backend that takes nothing holds up no build, and takes no more memory than the bound.
func TestBackendThatStalls(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	r := &bestest.Recorder{Opened: func() error { <-release; return nil }}
	c, err := Dial(Config{Backend: "grpc://" + r.Start(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := c.Open("b", "i")
	for range 3 * maxUnacked >> 10 {
		s.Publish(&pb.BuildEvent{Payload: &pb.BuildEvent_Progress{Progress: &pb.Progress{Stderr: strings.Repeat("x", 1<<10)}}})
	}
	s.mu.Lock()
	size := s.size
	s.mu.Unlock()
	if size > maxUnacked {
		t.Errorf("%d bytes are kept", size)
	}
	if err := s.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("got %v", err)
	}

	s = c.Open("b", "i")
	run(s.Publish)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestBackendThatIsGone(t *testing.T) {
	c, err := Dial(Config{Backend: "grpc://127.0.0.1:1", Lifecycle: true, wait: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := c.Open("b", "i")
	run(s.Publish)
	if err := s.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

func TestWrongConfigurations(t *testing.T) {
	for _, cfg := range []Config{
		{Backend: "http://example.com"},
		{Backend: "grpc://"},
		{Backend: "grpc://user:word@example.com:1"},
		{Backend: "grpcs://example.com/path"},
		{Backend: "grpc://example.com:1", Headers: []string{"name"}},
		{Backend: "grpc://example.com:1", Headers: []string{"na me=x"}},
		{Backend: "grpcs://example.com:1", Certificate: "/does/not/exist"},
		{Backend: "grpcs://example.com:1", Certificate: "/dev/null"},
	} {
		_, err := Dial(cfg)
		if k6x.KindOf(err) != k6x.Invalid || strings.Contains(fmt.Sprint(err), "word") {
			t.Errorf("%+v: got %v", cfg, err)
		}
	}
}

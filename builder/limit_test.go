package builder

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
)

func TestLimitRunsNoMoreThanItsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 2, Queue: 8})
		var calls []<-chan error
		for _, client := range []string{"a", "b", "c", "d", "e"} {
			calls = append(calls, call(t.Context(), l, job(client, "v1.0.0")))
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if got, want := l.Stats(), (LimitStats{Running: 2, Waiting: 3, Oldest: time.Minute}); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
		for range calls {
			(<-next.started).answer <- nil
			synctest.Wait()
			if running := l.Stats().Running; running > 2 {
				t.Fatalf("%d builds run", running)
			}
		}
		for _, c := range calls {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
		if got := l.Stats(); got != (LimitStats{}) {
			t.Errorf("%+v when all is done", got)
		}
	})
}

// order starts builds named client+number one after the other behind a running
// build and returns them in the order they ran.
func order(t *testing.T, l *Limit, next *fake, names ...string) string {
	t.Helper()
	first := call(t.Context(), l, job("", "v0.0.0"))
	synctest.Wait()
	for _, name := range names {
		call(t.Context(), l, job(name[:1], name))
		synctest.Wait()
	}
	(<-next.started).answer <- nil
	<-first
	var ran []string
	for range names {
		r := <-next.started
		ran = append(ran, r.job.Recipe.K6.Version)
		r.answer <- nil
	}
	return strings.Join(ran, " ")
}

func TestLimitTakesClientsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1, Queue: 16})
		got := order(t, l, next, "a1", "a2", "a3", "a4", "b1", "b2", "c1")
		if want := "a1 b1 c1 a2 b2 a3 a4"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

func TestLimitTurnsAwayWhoHasMoreThanItsShareWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1, Queue: 8})
		call(t.Context(), l, job("", "v1.0.0"))
		synctest.Wait()
		for range 2 {
			call(t.Context(), l, job("greedy", "v1.0.0"))
		}
		synctest.Wait()
		e := wantKind(t, <-call(t.Context(), l, job("greedy", "v1.0.0")), k6x.Quota)
		if e.RetryAfter < time.Second || e.RetryAfter > time.Minute {
			t.Errorf("retry after %v", e.RetryAfter)
		}
		call(t.Context(), l, job("modest", "v1.0.0"))
		synctest.Wait()
		if got := l.Stats().Waiting; got != 3 {
			t.Errorf("%d wait, want the two of one and the one of another", got)
		}
		finish(next, 4)
	})
}

func TestLimitIsBusyWhenTheQueueIsFull(t *testing.T) {
	for name, queue := range map[string]int{"some may wait": 4, "none may wait": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := newFake()
				l := NewLimit(next, LimitConfig{Slots: 1, Queue: queue})
				waiting := max(queue, 0)
				for i := range 1 + waiting {
					call(t.Context(), l, job(string(rune('a'+i)), "v1.0.0"))
				}
				synctest.Wait()
				e := wantKind(t, <-call(t.Context(), l, job("late", "v1.0.0")), k6x.Busy)
				if e.RetryAfter < time.Second || e.RetryAfter > time.Minute {
					t.Errorf("retry after %v", e.RetryAfter)
				}
				finish(next, 1+waiting)
			})
		})
	}
}

func TestLimitGuessesTheWaitFromRecentBuilds(t *testing.T) {
	for _, c := range []struct{ build, want time.Duration }{
		{time.Millisecond, time.Second},
		{20 * time.Second, 20 * time.Second},
		{time.Hour, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			next := newFake()
			l := NewLimit(next, LimitConfig{Slots: 1, Queue: -1})
			done := call(t.Context(), l, job("", "v1.0.0"))
			r := <-next.started
			time.Sleep(c.build)
			r.answer <- nil
			<-done
			call(t.Context(), l, job("", "v1.0.0"))
			synctest.Wait()
			e := wantKind(t, <-call(t.Context(), l, job("", "v1.0.0")), k6x.Busy)
			if e.RetryAfter != c.want {
				t.Errorf("builds take %v: retry after %v, want %v", c.build, e.RetryAfter, c.want)
			}
			finish(next, 1)
		})
	}
}

func TestLimitLeavingFreesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1, Queue: 16})
		call(t.Context(), l, job("", "v1.0.0"))
		synctest.Wait()
		var leave []context.CancelFunc
		var calls []<-chan error
		for _, name := range []string{"a1", "a2", "a3", "b1"} {
			ctx, cancel := context.WithCancel(t.Context())
			leave = append(leave, cancel)
			calls = append(calls, call(ctx, l, job(name[:1], name)))
			synctest.Wait()
		}
		for _, i := range []int{1, 3} {
			leave[i]()
			if err := <-calls[i]; !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		}
		if got := l.Stats().Waiting; got != 2 {
			t.Fatalf("%d wait, want 2", got)
		}
		(<-next.started).answer <- nil
		var ran []string
		for range 2 {
			r := <-next.started
			ran = append(ran, r.job.Recipe.K6.Version)
			r.answer <- nil
		}
		if want := []string{"a1", "a3"}; !slices.Equal(ran, want) {
			t.Errorf("ran %v, want %v", ran, want)
		}
		synctest.Wait()
		if got := l.Stats(); got != (LimitStats{}) {
			t.Errorf("%+v when all is done", got)
		}
		for _, cancel := range leave {
			cancel()
		}
	})
}

func TestLimitLosesNoSlotWhenATurnAndALeaveMeet(t *testing.T) {
	l := NewLimit(newFake(), LimitConfig{Slots: 1, Queue: 16})
	first, place := &ticket{client: "a"}, &ticket{client: "b"}
	for _, next := range []*ticket{first, place} {
		if err := l.enter(next, 1); err != nil {
			t.Fatal(err)
		}
	}
	l.release(first, time.Second) // hands the slot to b,
	l.leave(place)                // which has just left
	if got := l.Stats(); got != (LimitStats{}) {
		t.Errorf("%+v when nobody is there", got)
	}
}

func TestLimitFreesTheSlotOfABuildThatPanics(t *testing.T) {
	l := NewLimit(builderFunc(func(context.Context, Job) (k6x.Artifact, error) { panic("no") }), LimitConfig{})
	func() {
		defer func() { _ = recover() }()
		_, _ = l.Build(t.Context(), job("", "v1.0.0"))
	}()
	if got := l.Stats(); got != (LimitStats{}) {
		t.Errorf("%+v after a panic", got)
	}
}

// finish lets n builds succeed.
func finish(next *fake, n int) {
	for range n {
		(<-next.started).answer <- nil
	}
	synctest.Wait()
}

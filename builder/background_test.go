package builder

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
	"k6x/event"
)

// ran lets n builds run one after the other and returns their versions.
func ran(next *fake, n int) string {
	var versions []string
	for range n {
		r := <-next.started
		versions = append(versions, r.job.Recipe.K6.Version)
		r.answer <- nil
	}
	synctest.Wait()
	return strings.Join(versions, " ")
}

// begin starts a build and lets it come as far as it does.
func begin(ctx context.Context, b Builder, job Job) <-chan error {
	done := call(ctx, b, job)
	synctest.Wait()
	return done
}

func TestBackgroundBuildsWaitForAllOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1})
		begin(t.Context(), l, job("", "first"))
		begin(t.Context(), l, behind("p1"))
		begin(t.Context(), l, behind("p2"))
		begin(t.Context(), l, job("a", "a1"))
		begin(t.Context(), l, job("a", "a2"))
		if got, want := l.Stats(), (LimitStats{Running: 1, Waiting: 2, Behind: 2}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got, want := ran(next, 5), "first a1 a2 p1 p2"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
		if got := l.Stats(); got != (LimitStats{}) {
			t.Errorf("%+v when all is done", got)
		}
	})
}

func TestBackgroundBuildsLeaveASlotFree(t *testing.T) {
	for slots, want := range map[int]int{1: 1, 2: 1, 3: 2, 8: 7} {
		synctest.Test(t, func(t *testing.T) {
			next := newFake()
			l := NewLimit(next, LimitConfig{Slots: slots})
			for range 10 {
				begin(t.Context(), l, behind("v1.0.0"))
			}
			if got := l.Stats().Running; got != want {
				t.Errorf("%d run in the background with %d slots, want %d", got, slots, want)
			}
			if slots > 1 {
				begin(t.Context(), l, job("", "v1.1.0"))
				if got := l.Stats(); got.Running != want+1 || got.Waiting != 0 {
					t.Errorf("with %d slots: %+v, want the build of a person to run", slots, got)
				}
				finish(next, 1)
			}
			finish(next, 10)
		})
	}
}

func TestBackgroundBuildsTurnNobodyAwayAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1, Queue: 4})
		begin(t.Context(), l, job("", "v1.0.0"))
		for range 4 {
			begin(t.Context(), l, behind("v1.1.0"))
		}
		wantKind(t, <-begin(t.Context(), l, behind("v1.1.0")), k6x.Busy)
		for _, client := range []string{"a", "b", "c", "d"} {
			begin(t.Context(), l, job(client, "v1.2.0"))
		}
		if got := l.Stats().Waiting; got != 4 {
			t.Errorf("%d wait, want all four", got)
		}
		finish(next, 9)
	})
}

func TestABackgroundBuildThatSomebodyWaitsForIsTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1, Queue: 8})
		d := NewDedup(l, DedupConfig{})
		begin(t.Context(), d, job("", "first"))
		begin(t.Context(), d, behind("p1"))
		preloaded := begin(t.Context(), d, behind("p2"))
		begin(t.Context(), d, behind("p3"))
		begin(t.Context(), d, job("a", "a1"))
		begin(t.Context(), d, job("a", "a2"))
		begin(t.Context(), d, job("a", "a3")) // is turned away: a may have two waiting
		asked := begin(t.Context(), d, job("b", "p2"))
		if got, want := l.Stats(), (LimitStats{Running: 1, Waiting: 3, Behind: 2}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		begin(t.Context(), d, behind("p2")) // makes nothing of it again
		if got, want := ran(next, 2), "first a1"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
		r := <-next.started
		if r.job.Recipe.K6.Version != "p2" || r.job.Client != "b" || r.job.Priority != Foreground {
			t.Errorf("then ran %+v, want p2 in the turn of b", r.job)
		}
		r.answer <- nil
		for _, done := range []<-chan error{preloaded, asked} {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if got, want := ran(next, 3), "a2 p1 p3"; got != want {
			t.Errorf("then ran %s, want %s", got, want)
		}
	})
}

// On two slots of which one is taken, a background build waits though one is free.
func TestABackgroundBuildThatSomebodyWaitsForTakesTheLastSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 2})
		d := NewDedup(l, DedupConfig{})
		begin(t.Context(), d, job("", "v1.0.0"))
		begin(t.Context(), d, behind("v1.1.0"))
		if got, want := l.Stats(), (LimitStats{Running: 1, Behind: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		begin(t.Context(), d, job("", "v1.1.0"))
		if got, want := l.Stats(), (LimitStats{Running: 2}); got != want {
			t.Errorf("%+v once somebody waits for it, want %+v", got, want)
		}
		finish(next, 2)
	})
}

func TestLeavingTheBackgroundFreesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1})
		begin(t.Context(), l, job("", "v1.0.0"))
		ctx, cancel := context.WithCancel(t.Context())
		done := begin(ctx, l, behind("v1.1.0"))
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		finish(next, 1)
		if got := l.Stats(); got != (LimitStats{}) {
			t.Errorf("%+v when nobody is there", got)
		}
	})
}

// leaseOnce is a lease that tells whether somebody wants it, and is free when the test says so.
type leaseOnce struct{ taken, free chan struct{} }

func (l *leaseOnce) Acquire(context.Context, string) (*k6x.Artifact, func(*k6x.Error), error) {
	close(l.taken)
	<-l.free
	return nil, func(*k6x.Error) {}, nil
}

// Else it would keep from it a service that has a slot, and somebody who waits.
func TestABackgroundBuildTakesNoLeaseBeforeItCanStart(t *testing.T) {
	for name, how := range map[string]struct {
		act  func(t *testing.T, d *Dedup, next *fake)
		left int
	}{
		"until a slot is free": {func(t *testing.T, d *Dedup, next *fake) { finish(next, 1) }, 1},
		"until somebody waits": {func(t *testing.T, d *Dedup, next *fake) { begin(t.Context(), d, job("", "v1.1.0")) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := newFake()
				lease := &leaseOnce{make(chan struct{}), make(chan struct{})}
				close(lease.free)
				l := NewLimit(next, LimitConfig{Slots: 1, Leases: lease})
				begin(t.Context(), l, again("v1.0.0")) // which takes none
				d := NewDedup(l, DedupConfig{})
				done := begin(t.Context(), d, behind("v1.1.0"))
				nothing(t, lease.taken, "the lease is held by a build that waits")
				how.act(t, d, next)
				<-lease.taken
				finish(next, how.left)
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// At another service somebody may wait for it.
func TestABackgroundBuildThatHoldsALeaseIsLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		lease := &leaseOnce{make(chan struct{}), make(chan struct{})}
		l := NewLimit(next, LimitConfig{Slots: 1, Leases: lease})
		d := NewDedup(l, DedupConfig{})
		begin(t.Context(), d, behind("p1"))
		<-lease.taken
		// Rebuilds take no lease.
		begin(t.Context(), l, Job{Recipe: recipe("a1"), Client: "a", Rebuild: true})
		close(lease.free)
		synctest.Wait()
		begin(t.Context(), l, Job{Recipe: recipe("a2"), Client: "a", Rebuild: true})
		if got, want := ran(next, 3), "a1 p1 a2"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

// A client may ask for the same before the job has come to the queue.
func TestAPromotionIsNotLostBeforeTheBuildBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1})
		begin(t.Context(), l, job("", "first"))
		begin(t.Context(), l, behind("p1"))
		claimed := behind("p2")
		claimed.claim = new(claim)
		claimed.claim.by("a")
		claimed.claim.by("b") // which is too late
		begin(t.Context(), l, claimed)
		if client := claimed.event(event.Queued).Client; client != "a" {
			t.Errorf("it is the job of %q", client)
		}
		if got, want := ran(next, 3), "first p2 p1"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

func TestARefusalInTheBackgroundTellsOfTheClientsLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1, Queue: 3})
		first := begin(t.Context(), l, job("a", "v1.0.0"))
		time.Sleep(10 * time.Second)
		(<-next.started).answer <- nil
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		begin(t.Context(), l, job("a", "v1.0.0"))
		for range 3 {
			begin(t.Context(), l, behind("v1.0.0"))
		}
		if e := wantKind(t, <-begin(t.Context(), l, behind("v1.0.0")), k6x.Busy); e.RetryAfter != 10*time.Second {
			t.Errorf("no client waits, and it may try again after %s", e.RetryAfter)
		}
		finish(next, 4)
	})
}

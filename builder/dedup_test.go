package builder

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
)

func TestDedupMakesOneBuildOfAllWhoAskForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		d := NewDedup(next, DedupConfig{})
		var calls []<-chan error
		for range 50 {
			calls = append(calls, call(t.Context(), d, job("", "v1.0.0")))
		}
		other := call(t.Context(), d, job("", "v1.1.0"))
		synctest.Wait()
		if n := next.count.Load(); n != 2 {
			t.Fatalf("%d builds for two keys", n)
		}
		for range 2 {
			(<-next.started).answer <- nil
		}
		for _, c := range append(calls, other) {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	})
}

type aValue struct{}

func TestDedupBuildKeepsTheValuesOfItsFirstCallerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		d := NewDedup(next, DedupConfig{})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), aValue{}, "kept"), time.Second)
		defer cancel()
		done := call(ctx, d, job("alice", "v1.0.0"))
		r := <-next.started
		if r.job.Client != "alice" || r.job.ID == "" || r.ctx.Value(aValue{}) != "kept" {
			t.Errorf("the build is %+v", r.job)
		}
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller whose time was up got %v", err)
		}
		if _, ok := r.ctx.Deadline(); ok || r.ctx.Err() != nil {
			t.Error("the build has the deadline of its first caller")
		}
		r.answer <- nil
	})
}

func TestDedupLeavingCallerCancelsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		d := NewDedup(next, DedupConfig{Linger: time.Minute})
		first, cancel := context.WithCancel(t.Context())
		leaver := call(first, d, job("", "v1.0.0"))
		stayer := call(t.Context(), d, job("", "v1.0.0"))
		synctest.Wait()
		cancel()
		if err := <-leaver; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left got %v", err)
		}
		time.Sleep(time.Hour)
		r := <-next.started
		if r.ctx.Err() != nil {
			t.Fatal("the build was cancelled while a caller waited")
		}
		r.answer <- nil
		if err := <-stayer; err != nil {
			t.Error(err)
		}
	})
}

func TestDedupAbandonedBuildLingersThenIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		d := NewDedup(next, DedupConfig{Linger: time.Minute})
		visit := func(stay time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), stay)
			defer cancel()
			if _, err := d.Build(ctx, job("", "v1.0.0")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		visit(time.Second)
		time.Sleep(50 * time.Second)
		visit(time.Second) // the clock starts anew
		time.Sleep(50 * time.Second)
		r := <-next.started
		if r.ctx.Err() != nil || next.count.Load() != 1 {
			t.Fatal("the build did not live on for who comes back")
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if !errors.Is(context.Cause(r.ctx), errAbandoned) {
			t.Fatal("nobody waited for a minute and the build goes on")
		}
	})
}

func TestDedupStartsAnewWhileACancelledBuildIsStillEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		builds := 0
		d := NewDedup(builderFunc(func(ctx context.Context, job Job) (k6x.Artifact, error) {
			builds++
			if builds == 1 {
				<-ctx.Done()
				<-stop // takes long to end
				return k6x.Artifact{}, ctx.Err()
			}
			return k6x.Artifact{Digest: job.Recipe.Key()}, nil
		}), DedupConfig{Linger: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		leaver := call(ctx, d, job("", "v1.0.0"))
		synctest.Wait()
		cancel()
		<-leaver
		time.Sleep(2 * time.Second)
		if err := <-call(t.Context(), d, job("", "v1.0.0")); err != nil {
			t.Errorf("who came while the old build ended got %v", err)
		}
		close(stop)
		synctest.Wait()
		if len(d.running) != 0 || len(d.flights) != 0 {
			t.Error("a build that ended is still known")
		}
	})
}

func TestDedupRemembersOnlyFailuresThatWouldComeAgain(t *testing.T) {
	lasting := map[k6x.Kind]bool{k6x.BuildFailed: true, k6x.Conflict: true, k6x.Forbidden: true, k6x.NotFound: true}
	for kind := k6x.Internal; kind <= k6x.Canceled; kind++ {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := newFake()
				d := NewDedup(next, DedupConfig{FailureLife: time.Minute})
				fail := func() {
					t.Helper()
					c := call(t.Context(), d, job("", "v1.0.0"))
					(<-next.started).answer <- k6x.Errorf(kind, "no")
					wantKind(t, <-c, kind)
				}
				fail()
				if !lasting[kind] {
					fail() // again by a build
					return
				}
				time.Sleep(59 * time.Second)
				wantKind(t, <-call(t.Context(), d, job("", "v1.0.0")), kind)
				nothing(t, next.started, "a remembered failure was built again")
				d.Forget(recipe("v1.0.0").Key())
				fail()
				time.Sleep(61 * time.Second)
				fail()
			})
		})
	}
}

func TestDedupRemembersTheLimitWithTheFailure(t *testing.T) {
	limit := k6x.Limit{Name: k6x.LimitMemory, Value: 4 << 30}
	builds := 0
	d := NewDedup(builderFunc(func(context.Context, Job) (k6x.Artifact, error) {
		builds++
		e := k6x.Errorf(k6x.BuildFailed, "no")
		e.Limit = limit
		return k6x.Artifact{}, e
	}), DedupConfig{})
	for range 2 {
		if e := wantKind(t, <-call(t.Context(), d, job("", "v1.0.0")), k6x.BuildFailed); e.Limit != limit {
			t.Errorf("limit %+v, want %+v", e.Limit, limit)
		}
	}
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
}

func TestDedupBoundsTheRememberedFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		builds := 0
		d := NewDedup(builderFunc(func(context.Context, Job) (k6x.Artifact, error) {
			builds++
			return k6x.Artifact{}, k6x.Errorf(k6x.BuildFailed, "no")
		}), DedupConfig{Failures: 10})
		for i := range 100 {
			<-call(t.Context(), d, job("", fmt.Sprintf("v1.%d.0", i)))
		}
		if n := d.failures.Len(); n != 10 {
			t.Errorf("%d failures are remembered, want 10", n)
		}
		<-call(t.Context(), d, job("", "v1.99.0"))
		<-call(t.Context(), d, job("", "v1.0.0"))
		if builds != 101 {
			t.Errorf("%d builds, want 101: the newest failure is remembered, the oldest is not", builds)
		}
	})
}

func TestDedupGivesEachCallerItsOwnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		d := NewDedup(next, DedupConfig{})
		a, b := call(t.Context(), d, job("", "v1.0.0")), call(t.Context(), d, job("", "v1.0.0"))
		(<-next.started).answer <- k6x.Errorf(k6x.BuildFailed, "no")
		k6x.AsError(<-a).Message += " (for a)"
		for _, c := range []<-chan error{b, call(t.Context(), d, job("", "v1.0.0"))} {
			if err := <-c; err.Error() != "no" {
				t.Errorf("another caller reads %q", err)
			}
		}
	})
}

func TestDedupTurnsAPanicIntoAnInternalErrorForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := make(chan struct{})
		d := NewDedup(builderFunc(func(context.Context, Job) (k6x.Artifact, error) {
			<-begin
			panic("secret of the inside")
		}), DedupConfig{})
		a, b := call(t.Context(), d, job("", "v1.0.0")), call(t.Context(), d, job("", "v1.0.0"))
		synctest.Wait()
		close(begin)
		for _, c := range []<-chan error{a, b} {
			e := wantKind(t, <-c, k6x.Internal)
			if e.Err == nil || e.Message == "" || e.Message == e.Err.Error() {
				t.Errorf("message %q, cause %v", e.Message, e.Err)
			}
		}
	})
}

func TestDedupCloseCancelsAndAwaitsBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		d := NewDedup(builderFunc(func(ctx context.Context, job Job) (k6x.Artifact, error) {
			<-ctx.Done()
			<-stop
			return k6x.Artifact{}, ctx.Err()
		}), DedupConfig{})
		waiter := call(t.Context(), d, job("", "v1.0.0"))
		synctest.Wait()

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v while a build was running", err)
		}
		closed := make(chan error, 1)
		go func() { closed <- d.Close(t.Context()) }()
		synctest.Wait()
		nothing(t, closed, "Close did not wait for the build")
		close(stop)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		for _, err := range []error{<-waiter, <-call(t.Context(), d, job("", "v1.1.0"))} {
			if e := wantKind(t, err, k6x.Busy); e.RetryAfter <= 0 {
				t.Error("Busy does not say when to try again")
			}
		}
	})
}

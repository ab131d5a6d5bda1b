package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
	"k6x/cache/blob/mem"
	"k6x/cache/cachetest"
)

// replicas returns n stores with leases on one bucket in memory.
func replicas(t *testing.T, n int) []*Leases {
	t.Helper()
	shared := new(mem.Bucket)
	all := make([]*Leases, n)
	for i := range all {
		all[i] = NewLeases(New(shared, Config{}), LeaseConfig{})
	}
	return all
}

// acquired is what came of an Acquire.
type acquired struct {
	made    *k6x.Artifact
	release func(*k6x.Error)
	err     error
}

func acquire(ctx context.Context, l *Leases, key string) <-chan acquired {
	done := make(chan acquired, 1)
	go func() {
		made, release, err := l.Acquire(ctx, key)
		done <- acquired{made, release, err}
	}()
	return done
}

func mustHold(t *testing.T, l *Leases, key string) acquired {
	t.Helper()
	got := <-acquire(t.Context(), l, key)
	if got.err != nil || got.release == nil {
		t.Fatalf("got made %v, error %v, want the lease", got.made, got.err)
	}
	return got
}

func TestLeaseIsHeldByOneAndWaitersGetTheArtifactSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 5)
		holder := mustHold(t, all[0], key(1))
		var waiting []<-chan acquired
		for _, l := range all[1:] {
			waiting = append(waiting, acquire(t.Context(), l, key(1)))
		}
		time.Sleep(10 * time.Minute) // in the time of the bubble: the holder renews
		synctest.Wait()
		for _, w := range waiting {
			select {
			case got := <-w:
				t.Fatalf("a second one got made %v, error %v", got.made, got.err)
			default:
			}
		}
		mustPut(t, all[0].store, 1, 1000)
		released := time.Now()
		holder.release(nil)
		for _, w := range waiting {
			if got := <-w; got.err != nil || got.made == nil || got.made.Size != 1000 {
				t.Errorf("a waiter got made %v, error %v, want the artifact", got.made, got.err)
			}
		}
		if took := time.Since(released); took > 500*time.Millisecond {
			t.Errorf("the last waiter was woken after %v", took)
		}
		mustHold(t, all[1], key(2)).release(nil)
		if left, err := all[0].look(t.Context(), key(1)); err != nil || left.highest != 0 {
			t.Errorf("left in the bucket: %+v, %v", left, err)
		}
	})
}

func TestLeaseOfADeadHolderIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 2)
		dead := claim{Holder: "killed"}
		for _, n := range []int64{1, 7} { // the first stays until the last is given back
			if err := all[0].store.put(t.Context(), leaseName(key(1), n), dead.encode()); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		got := mustHold(t, all[1], key(1))
		if took := time.Since(start); took < 15*time.Second || took > 17*time.Second {
			t.Errorf("taken over after %v, want TTL", took)
		}
		if now, err := all[1].look(t.Context(), key(1)); err != nil || now.lease != 8 {
			t.Errorf("state %+v, %v, want lease 8", now, err)
		}
		got.release(nil)
		if now, err := all[1].look(t.Context(), key(1)); err != nil || now.highest != 0 {
			t.Errorf("left in the bucket: %+v, %v", now, err)
		}
	})
}

func TestOfManyWhoWantALeaseOneHasItAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		holding, turns := 0, 0
		var done sync.WaitGroup
		for _, l := range replicas(t, 8) {
			done.Go(func() {
				made, release, err := l.Acquire(t.Context(), key(1))
				if err != nil || made != nil {
					t.Errorf("made %v, error %v", made, err)
					return
				}
				mu.Lock()
				if holding++; holding > 1 {
					t.Error("two hold the lease")
				}
				turns++
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				holding--
				mu.Unlock()
				release(nil)
			})
		}
		done.Wait()
		if turns != 8 {
			t.Errorf("%d had the lease, want all", turns)
		}
	})
}

func TestLastingFailureIsToldToWaitersForItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 3)
		holder := mustHold(t, all[0], key(1))
		waiting := acquire(t.Context(), all[1], key(1))
		synctest.Wait()
		failed := k6x.Errorf(k6x.BuildFailed, "k6/x/it does not compile").WithHint("Try another version.")
		failed.Output = strings.Repeat("x", 10*maxOutput)
		holder.release(failed)
		for _, got := range []acquired{<-waiting, <-acquire(t.Context(), all[2], key(1))} {
			var e *k6x.Error
			if !errors.As(got.err, &e) || e.Kind != failed.Kind || e.Message != failed.Message || e.Hint != failed.Hint ||
				len(e.Output) < maxOutput || len(e.Output) > 2*maxOutput {
				t.Errorf("got made %v, error %v, want the failure", got.made, got.err)
			}
		}
		time.Sleep(61 * time.Second)
		mustHold(t, all[2], key(1)).release(nil)
	})
}

func TestNoteOfADeadServiceIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 2)
		for name, left := range map[string]string{ // the leases stay until the note goes
			leaseName(key(1), 1): "{}", leaseName(key(1), 3): "{}", noteName(key(1), 3): `{"kind":"build_failed","message":"no"}`,
		} {
			if err := all[0].store.put(t.Context(), name, []byte(left)); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-acquire(t.Context(), all[1], key(1)); k6x.KindOf(got.err) != k6x.BuildFailed {
			t.Errorf("got %v, want the failure", got.err)
		}
		time.Sleep(61 * time.Second)
		mustHold(t, all[1], key(1)).release(nil)
	})
}

func TestFailureByALimitIsToldToThoseWhoseLimitIsNotHigher(t *testing.T) {
	for _, c := range []struct {
		name  string
		here  k6x.Limits
		tries bool
	}{
		{"higher", k6x.Limits{k6x.LimitMemory: 8 << 30}, true},
		{"none", nil, true},
		{"equal", k6x.Limits{k6x.LimitMemory: 4 << 30}, false},
		{"lower", k6x.Limits{k6x.LimitMemory: 2 << 30}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := replicas(t, 3)
				all[1].cfg.Limits, all[2].cfg.Limits = c.here, c.here
				holder := mustHold(t, all[0], key(1))
				waiting := acquire(t.Context(), all[1], key(1))
				synctest.Wait()
				failed := k6x.Errorf(k6x.BuildFailed, "k6/x/it needs more than 4 GiB of memory to compile")
				failed.Limit = k6x.Limit{Name: k6x.LimitMemory, Value: 4 << 30}
				holder.release(failed)
				// Who waited and who comes later.
				for _, next := range []func() acquired{
					func() acquired { return <-waiting },
					func() acquired { return <-acquire(t.Context(), all[2], key(1)) },
				} {
					got := next()
					if c.tries {
						if got.err != nil || got.release == nil {
							t.Fatalf("got made %v, error %v, want the lease", got.made, got.err)
						}
						got.release(nil)
						continue
					}
					var e *k6x.Error
					if !errors.As(got.err, &e) || e.Message != failed.Message || e.Limit != failed.Limit {
						t.Errorf("got made %v, error %#v, want the failure with its limit", got.made, got.err)
					}
				}
			})
		})
	}
}

// A service with higher limits than the one that failed builds it, while that one still tells of its failure.
func TestArtifactOfAServiceWithHigherLimitsEndsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 3)
		small := k6x.Limits{k6x.LimitMemory: 4 << 30}
		all[0].cfg.Limits, all[1].cfg.Limits, all[2].cfg.Limits = small, k6x.Limits{k6x.LimitMemory: 8 << 30}, small
		failed := k6x.Errorf(k6x.BuildFailed, "no")
		failed.Limit = k6x.Limit{Name: k6x.LimitMemory, Value: 4 << 30}
		mustHold(t, all[0], key(1)).release(failed)
		holder := mustHold(t, all[1], key(1))
		waiting := acquire(t.Context(), all[2], key(1))
		synctest.Wait()
		mustPut(t, all[1].store, 1, 1000)
		holder.release(nil)
		if got := <-waiting; got.err != nil || got.made == nil {
			t.Errorf("got made %v, error %v, want the artifact", got.made, got.err)
		}
		// One that comes later has the first lease again, and finds the artifact as each does that has one.
		mustHold(t, all[0], key(1)).release(nil)
		if _, err := all[0].store.Whole(t.Context(), key(1)); err != nil {
			t.Error(err)
		}
	})
}

func TestNoteOfAFailureThatNeedNotComeAgainIsNotHeeded(t *testing.T) {
	for kind := k6x.Internal; kind <= k6x.Canceled; kind++ {
		s := replicas(t, 1)[0]
		for name, left := range map[string]string{leaseName(key(1), 1): "{}", noteName(key(1), 1): `{"kind":"` + kind.String() + `","message":"no"}`} {
			if err := s.store.put(t.Context(), name, []byte(left)); err != nil {
				t.Fatal(err)
			}
		}
		got := <-acquire(t.Context(), s, key(1))
		if got.release != nil {
			got.release(nil)
		}
		if heeded := got.err != nil; heeded != kind.Lasting() {
			t.Errorf("%v: got error %v", kind, got.err)
		}
	}
}

func TestGivingUpWaitingEndsTheListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 2)
		holder := mustHold(t, all[0], key(1))
		ctx, leave := context.WithCancel(t.Context())
		waiting := acquire(ctx, all[1], key(1))
		synctest.Wait()
		leave()
		if got := <-waiting; !errors.Is(got.err, context.Canceled) {
			t.Errorf("got %v", got.err)
		}
		left := time.Now()
		time.Sleep(time.Second)
		synctest.Wait()
		if all[1].listed.After(left) {
			t.Error("still listing")
		}
		holder.release(nil)
	})
}

func TestLeaseFailsWhenTheBucketIsDown(t *testing.T) {
	s3 := newS3(t)
	s := mustOpen(t, Config{URL: s3.url("")})
	s3.server.Close()
	_, _, err := NewLeases(s, LeaseConfig{}).Acquire(t.Context(), key(1))
	if k6x.KindOf(err) != k6x.Unavailable {
		t.Errorf("got %v of kind %v, want Unavailable", err, k6x.KindOf(err))
	}
}

// Against a server, a lease and an artifact are the same as in memory.
func TestLeaseOnS3(t *testing.T) {
	s3 := newS3(t)
	quick := LeaseConfig{TTL: time.Minute, Renew: time.Millisecond, Poll: time.Millisecond}
	first, second := mustOpen(t, Config{URL: s3.url("")}), mustOpen(t, Config{URL: s3.url("")})
	holder := mustHold(t, NewLeases(first, quick), key(1))
	waiting := acquire(t.Context(), NewLeases(second, quick), key(1))
	_, err := first.Put(t.Context(), cachetest.Recipe(1), func(w io.Writer) (k6x.Build, error) {
		return cachetest.Fill([]byte("binary"))(w)
	})
	if err != nil {
		t.Fatal(err)
	}
	holder.release(nil)
	if got := <-waiting; got.err != nil || got.made == nil && got.release == nil {
		t.Errorf("made %v, error %v", got.made, got.err)
	}
}

// A lease that cannot be removed, as the bucket is away, holds up others until it counts as
// dead, but not the service that gave it back.
func TestLeaseThatCannotBeRemovedDoesNotHoldUpItsHolder(t *testing.T) {
	s, p, direct := faulty(t, Config{Patience: 200 * time.Millisecond})
	l := NewLeases(s, LeaseConfig{TTL: time.Hour})
	holder := mustHold(t, l, key(1))
	p.trouble(func(int, *http.Request) trouble { return unavailable })
	holder.release(nil)
	p.trouble(nil)
	mustHold(t, l, key(1)).release(nil)

	if left := names(t, direct, leases); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

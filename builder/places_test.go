package builder

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"k6x"
)

// rooms are places of which some fit the jobs of one version only.
type rooms struct {
	free map[string]string // version by worker; "": any
	able atomic.Pointer[k6x.Error]
}

func (r *rooms) Take(job Job) (worker string, ok bool) {
	for worker, version := range r.free {
		if version == "" || version == job.Recipe.K6.Version {
			delete(r.free, worker)
			return worker, true
		}
	}
	return "", false
}

func (r *rooms) Release(worker string)  { r.free[worker] = "" }
func (r *rooms) Count() (all, free int) { return 2, len(r.free) }

func (r *rooms) Able(Job) error {
	if err := r.able.Load(); err != nil {
		return err
	}
	return nil
}

func TestWhatFitsNoFreePlaceLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Places: &rooms{free: map[string]string{"w1": "v2.0.0"}}, Queue: 2})
		first := call(t.Context(), l, job("a", "v1.0.0"))
		second := call(t.Context(), l, job("a", "v2.0.0"))
		r := <-next.started
		if r.job.Recipe.K6.Version != "v2.0.0" || r.job.Worker != "w1" {
			t.Errorf("%s runs at %q", r.job.Recipe.K6.Version, r.job.Worker)
		}
		if err := <-call(t.Context(), l, job("a", "v3.0.0")); k6x.KindOf(err) != k6x.Quota {
			t.Errorf("the queue is not bounded for what does not fit: %v", err)
		}
		r.answer <- nil
		finish(next, 1)
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
	})
}

func TestALostBuildIsTheNextOfItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		l := NewLimit(next, LimitConfig{Slots: 1})
		first := call(t.Context(), l, job("a", "v1.0.0"))
		synctest.Wait()
		call(t.Context(), l, job("a", "v2.0.0"))
		call(t.Context(), l, job("a", "v3.0.0"))
		synctest.Wait()
		lost := func(back bool) error {
			return k6x.Errorf(k6x.Unavailable, "gone").WithCause(&Lost{Worker: "w1", Back: back})
		}
		(<-next.started).answer <- lost(false)
		synctest.Wait()
		(<-next.started).answer <- nil // one of the others had the slot when it was given back
		for _, back := range []bool{true, true, true, false, false} {
			r := <-next.started
			if r.job.Recipe.K6.Version != "v1.0.0" {
				r.answer <- nil
				r = <-next.started
			}
			r.answer <- lost(back)
		}
		if e := wantKind(t, <-first, k6x.BuildFailed); !strings.Contains(e.Message, "3 workers were lost") {
			t.Error(e)
		}
	})
}

func TestWhatNoPlaceFitsEndsItsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := &rooms{free: map[string]string{}}
		l := NewLimit(newFake(), LimitConfig{Places: places})
		done := call(t.Context(), l, job("a", "v1.0.0"))
		synctest.Wait()
		places.able.Store(k6x.Errorf(k6x.Unavailable, "there is no such worker"))
		wantKind(t, <-done, k6x.Unavailable)
		if got := l.Stats(); got != (LimitStats{}) {
			t.Errorf("%+v", got)
		}
	})
}

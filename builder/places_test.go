package builder

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
		synctest.Wait()
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

// lost returns the error of a build that a worker did not end.
func lost(worker string, back bool, failure *k6x.Error) error {
	return k6x.Errorf(k6x.Unavailable, "gone").WithCause(&Lost{Worker: worker, Back: back, Failure: failure})
}

var taken = k6x.Errorf(k6x.Unavailable, "taken").WithCause(&Lost{Worker: "w1", Back: true, Taken: true})

func TestABuildIsLostSoOften(t *testing.T) {
	full := k6x.Errorf(k6x.Unavailable, "its disk is full")
	for name, c := range map[string]struct {
		of   []error // of the attempts, again and again
		kind k6x.Kind
		says string
		want int // attempts
	}{
		"given back for ever":       {[]error{lost("w1", true, nil)}, k6x.Unavailable, "10 times", 10},
		"its place is always taken": {[]error{taken}, k6x.Unavailable, "10 times", maxTaken + 10},
		"one machine that flaps":    {[]error{lost("w1", false, nil)}, k6x.Unavailable, "10 times", 10},
		"three machines":            {[]error{lost("w1", false, nil), lost("w2", false, nil), lost("w3", false, nil)}, k6x.BuildFailed, "3 workers were lost", 3},
		"a broken one is alone":     {[]error{lost("w1", false, full)}, k6x.Unavailable, full.Message, 2},
		"three are broken":          {[]error{lost("w1", false, full), lost("w2", false, full), lost("w3", false, full)}, k6x.Unavailable, full.Message, 3},
		"one is broken, others die": {[]error{lost("w1", false, full), lost("w2", false, nil), lost("w3", false, nil)}, k6x.Unavailable, full.Message, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				l := NewLimit(builderFunc(func(context.Context, Job) (k6x.Artifact, error) {
					tries++
					return k6x.Artifact{}, c.of[(tries-1)%len(c.of)]
				}), LimitConfig{})
				_, err := l.Build(t.Context(), job("a", "v1.0.0"))
				if e := wantKind(t, err, c.kind); !strings.Contains(e.Message, c.says) || tries != c.want {
					t.Errorf("%d times: %v", tries, e)
				}
			})
		})
	}
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
		(<-next.started).answer <- lost("w1", false, nil)
		synctest.Wait()
		(<-next.started).answer <- nil // one of the others had the slot when it was given back
		for _, again := range []error{lost("w2", true, nil), lost("w2", true, nil), lost("w1", false, nil), lost("w2", false, nil), lost("w3", false, nil)} {
			r := <-next.started
			if r.job.Recipe.K6.Version != "v1.0.0" {
				r.answer <- nil
				r = <-next.started
			}
			r.answer <- again
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

func TestWhatAvoidsAWorkerIsOfferedItsPlaceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next, places := newFake(), &rooms{free: map[string]string{}}
		l := NewLimit(next, LimitConfig{Places: places})
		avoids := job("a", "v1.0.0")
		avoids.Avoid = []string{"w1"}
		done := begin(t.Context(), l, avoids)
		l.mu.Lock()
		places.free["w1"] = ""
		l.mu.Unlock()
		time.Sleep(askPlaces)
		synctest.Wait()
		select {
		case r := <-next.started:
			r.answer <- nil
		default:
			t.Fatal("it waits for ever")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

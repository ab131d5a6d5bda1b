package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
)

func TestDedupGivesRebuildsAFlightOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		d := NewDedup(next, DedupConfig{FailureLife: time.Hour})
		calls := []<-chan error{call(t.Context(), d, job("", "v1.0.0"))}
		for range 5 {
			calls = append(calls, call(t.Context(), d, again("v1.0.0")))
		}
		synctest.Wait()
		if n := next.count.Load(); n != 2 {
			t.Fatalf("%d builds", n)
		}
		rebuilds := 0
		for range 2 {
			r := <-next.started
			if r.job.Rebuild {
				rebuilds++
			}
			r.answer <- nil
		}
		if rebuilds != 1 {
			t.Errorf("%d builds are marked", rebuilds)
		}
		for _, c := range calls {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDedupPassesOverARememberedFailureForARebuildAndRemembersNoneOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := newFake()
		d := NewDedup(next, DedupConfig{FailureLife: time.Hour})
		fail := func(job Job) {
			done := call(t.Context(), d, job)
			synctest.Wait()
			select {
			case r := <-next.started:
				r.answer <- k6x.Errorf(k6x.BuildFailed, "no")
			default:
			}
			wantKind(t, <-done, k6x.BuildFailed)
		}
		fail(again("v1.0.0"))
		fail(job("", "v1.0.0")) // it knew of no failure
		if n := next.count.Load(); n != 2 {
			t.Fatalf("%d builds: the failure of a rebuild was remembered", n)
		}
		fail(job("", "v1.0.0"))
		if n := next.count.Load(); n != 2 {
			t.Fatalf("%d builds: the failure was not remembered", n)
		}
		fail(again("v1.0.0"))
		if n := next.count.Load(); n != 3 {
			t.Fatalf("%d builds: a rebuild got the remembered failure", n)
		}
	})
}

func TestKeepComparesARebuildAndKeepsWhatIsThere(t *testing.T) {
	s, e := &shelf{}, &engine{}
	b := Keep(e, s, nil)
	first, err := b.Build(t.Context(), again("v1.0.0")) // nothing is there: an ordinary build
	if err != nil || e.lock != nil {
		t.Fatal(err)
	}
	s.record.Digest = "of other bytes"
	second, err := b.Build(t.Context(), again("v1.0.0"))
	if !errors.Is(err, ErrDiffers) || second.Recipe.Key() != first.Recipe.Key() || e.lock == nil {
		t.Errorf("%v with %+v, lock %v", err, second, e.lock)
	}
	if e.builds != 2 || string(s.bytes) != "v1.0.0" {
		t.Errorf("%d builds, bytes %q", e.builds, s.bytes)
	}
	s.record.Digest = digestOf(t, e)
	if _, err := b.Build(t.Context(), again("v1.0.0")); err != nil {
		t.Errorf("the same bytes: %v", err)
	}
	s.bytes, s.damaged = []byte("v1.0.1"), true
	if _, err := b.Build(t.Context(), again("v1.0.0")); err != nil || string(s.bytes) != "v1.0.0" || e.lock == nil {
		t.Errorf("damaged bytes: %v, then %q, lock %v", err, s.bytes, e.lock)
	}
	e.err = errBroken
	if _, err := b.Build(t.Context(), again("v1.0.0")); err != errBroken {
		t.Errorf("a rebuild that fails: %v", err)
	}
	if _, err := b.Build(t.Context(), job("", "v1.0.0")); err != nil {
		t.Errorf("who asks for no rebuild: %v", err)
	}
}

// digestOf returns the digest of what e writes.
func digestOf(t *testing.T, e *engine) string {
	t.Helper()
	hash := sha256.New()
	if _, err := e.Build(t.Context(), job("", "v1.0.0"), nil, hash); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

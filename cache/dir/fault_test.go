package dir

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/cache"
	"k6x/cache/cachetest"
)

// nth makes the n-th step after it was armed fail as on a full disk.
type nth struct {
	left   int
	failed string // what failed
}

func (f *nth) fault(step, name string) error {
	if f.left--; f.left == 0 && step != "remove" { // a cleanup is not to fail for want of room
		f.failed = step
		return fmt.Errorf("%s %s: %w", step, name, syscall.ENOSPC)
	}
	return nil
}

// eachStep runs act over and over, each time on a new store, and makes the first step of
// it fail, then the second, and so on until none fails. It returns the steps that failed.
func eachStep(t *testing.T, prepare func(*Store), act func(*Store) error, check func(s *Store, step string, err error)) []string {
	t.Helper()
	var steps []string
	for n := 1; ; n++ {
		f := &nth{left: -1}
		s := openWith(t, Config{Dir: t.TempDir(), Size: 250_000}, f.fault)
		prepare(s)
		f.left = n
		err := act(s)
		if f.left > 0 {
			return steps
		}
		if f.failed == "" {
			continue
		}
		f.left = -1
		steps = append(steps, f.failed)
		check(s, f.failed, err)
	}
}

func wantNoSpace(t *testing.T, step string, err error) {
	t.Helper()
	if k6x.KindOf(err) != k6x.NoSpace {
		t.Errorf("%s failed: got error %v (%v), want kind %v", step, err, k6x.KindOf(err), k6x.NoSpace)
	}
}

func TestPutOnAFullDiskLeavesNothingWhicheverStepFails(t *testing.T) {
	put := func(s *Store) error {
		_, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill(cachetest.Bytes(1, 100_000)))
		return err
	}
	steps := eachStep(t, func(*Store) {}, put, func(s *Store, step string, err error) {
		wantNoSpace(t, step, err)
		if _, err := s.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("after %s failed: Record: %v", step, err)
		}
		stats := s.Stats()
		if stats.Full == "" {
			t.Errorf("after %s failed: the store does not say that its disk is full", step)
		}
		if stats.Full = ""; stats != (cache.Stats{Limit: 250_000}) {
			t.Errorf("after %s failed: %+v", step, stats)
		}
		if err := put(s); err != nil {
			t.Errorf("after %s failed: Put with room again: %v", step, err)
		}
		wantBytes(t, s, 1, 100_000)
	})
	want := []string{"create", "write", "sync", // what is stored
		"create", "write", "sync", "mkdir", "syncdir", "rename", "syncdir", // the binding of its path
		"mkdir", "mkdir", "syncdir", "mkdir", "syncdir", "rename", "syncdir", // the binary, in two new directories
		"create", "write", "sync", "mkdir", "syncdir", "rename", "syncdir"} // the record
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps that can fail (-want +got):\n%s", diff)
	}
}

func TestPutOfEvictedBytesOnAFullDiskKeepsTheRecord(t *testing.T) {
	var first k6x.Artifact
	put := func(s *Store) error {
		_, err := s.Put(t.Context(), cachetest.Recipe(0), cachetest.Fill(cachetest.Bytes(0, 100_000)))
		return err
	}
	prepare := func(s *Store) {
		first = mustPut(t, s, 0, 100_000)
		mustPut(t, s, 1, 100_000)
		mustPut(t, s, 2, 100_000)
	}
	eachStep(t, prepare, put, func(s *Store, step string, err error) {
		if err != nil && step != "sync" { // what makes room or only informs others may fail without harm; else there is something to remove
			t.Errorf("after %s failed once: %v", step, err)
		}
		if got, err := s.Record(t.Context(), key(0)); err != nil || !cmp.Equal(got, first) {
			t.Errorf("after %s failed: Record: %v, %v", step, got, err)
		}
		if err := put(s); err != nil {
			t.Errorf("after %s failed: Put with room again: %v", step, err)
		}
		wantBytes(t, s, 0, 100_000)
	})
}

func TestBindOnAFullDiskBindsNothingWhicheverStepFails(t *testing.T) {
	const path = "/linux/amd64/k6@v1.8.1"
	prepare := func(s *Store) {
		mustPut(t, s, 0, 1000)
		mustPut(t, s, 1, 1000)
		s.Pin(key(0)) // so that nothing can make room
		s.Pin(key(1))
	}
	bind := func(s *Store) error {
		_, err := s.Bind(t.Context(), path, key(0))
		return err
	}
	steps := eachStep(t, prepare, bind, func(s *Store, step string, err error) {
		wantNoSpace(t, step, err)
		if got, err := s.Lookup(t.Context(), path); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("after %s failed: Lookup: %s, %v", step, got, err)
		}
		if bound, err := s.Bind(t.Context(), path, key(1)); err != nil || bound != key(1) {
			t.Errorf("after %s failed: Bind: %s, %v", step, bound, err)
		}
	})
	want := []string{"create", "write", "sync", "mkdir", "syncdir", "rename", "syncdir"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps that can fail (-want +got):\n%s", diff)
	}
}

func TestWriteErrorIsReportedAlsoIfFillHidesIt(t *testing.T) {
	f := &nth{left: -1}
	s := openWith(t, Config{Dir: t.TempDir()}, f.fault)
	recipe := cachetest.Recipe(1)
	for name, hide := range map[string]error{"as success": nil, "behind its own error": errors.New("exit status 1")} {
		f.left = 2 // after create
		_, err := s.Put(t.Context(), recipe, hideErrors(hide))
		if f.failed != "write" || k6x.KindOf(err) != k6x.NoSpace {
			t.Errorf("hidden %s: %s failed, got error %v", name, f.failed, err)
		}
	}
}

func TestPanicInFillLeavesNothing(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir()})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		s.Put(t.Context(), cachetest.Recipe(1), panicking)
	}()
	mustPut(t, s, 1, 1000)
}

func TestPutCanceledAfterFillLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := openWith(t, Config{Dir: t.TempDir()}, func(step, _ string) error {
		if step == "syncdir" { // the first one comes when all is written and verified
			cancel()
		}
		return nil
	})
	_, err := s.Put(ctx, cachetest.Recipe(1), cachetest.Fill([]byte("binary")))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v, want %v", err, context.Canceled)
	}
	if _, err := s.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Record: %v, want ErrNotFound", err)
	}
}

package fast

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// doing are tasks that note what happens to them.
type doing struct {
	queue *queue
	mu    sync.Mutex
	notes []string
}

func newDoing() *doing { return &doing{queue: newQueue(slog.New(slog.DiscardHandler))} }

func (d *doing) note(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, text)
}

// add adds a task that takes some time, and reports whether there was a place for it.
func (d *doing) add(name string, takes time.Duration) bool {
	if !d.queue.reserve() {
		return false
	}
	d.queue.add(func(ctx context.Context) {
		d.note(name + " begins")
		select {
		case <-time.After(takes):
			d.note(name + " is done")
		case <-ctx.Done():
			d.note(name + " is cut off")
		}
	}, func() { d.note(name + " ends") })
	return true
}

func (d *doing) want(t *testing.T, notes ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.notes, notes) {
		t.Errorf("%q, want %q", d.notes, notes)
	}
	d.notes = nil
}

func (d *doing) build(t *testing.T, takes time.Duration) {
	t.Helper()
	if err := d.queue.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.note("a build")
	time.Sleep(takes)
	d.queue.leave()
}

func TestTasksWaitForBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		if err := d.queue.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.add("a", time.Second)
		d.add("b", time.Second)
		synctest.Wait()
		d.want(t)
		d.queue.leave()
		d.queue.Settle(t.Context())
		d.want(t, "a begins", "a is done", "a ends", "b begins", "b is done", "b ends")
	})
}

// The machine is left to a binary that is being stored and sent.
func TestATaskRestsAfterABuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		d.build(t, time.Second)
		d.add("a", time.Second)
		time.Sleep(rest - time.Millisecond)
		synctest.Wait()
		d.want(t, "a build")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		d.want(t, "a begins")
		d.queue.Settle(t.Context())
	})
}

func TestABuildInterruptsATaskButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		d.add("a", maxHeld-time.Second)
		for range maxPassed {
			time.Sleep(rest)
			synctest.Wait()
			d.want(t, "a begins")
			began := time.Now()
			d.build(t, time.Second)
			if took := time.Since(began); took != time.Second {
				t.Errorf("the build took %v", took)
			}
			d.want(t, "a is cut off", "a build")
		}
		synctest.Wait()
		d.want(t, "a begins")
		d.build(t, time.Second) // waits, so that it is done at all
		d.want(t, "a is done", "a ends", "a build")
	})
}

func TestBuildsThatDoNotEndLetATaskRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		var builds sync.WaitGroup
		builds.Go(func() { d.build(t, 3*time.Second) })
		synctest.Wait()
		d.add("a", time.Second)
		for range 10 { // one each second, two at a time
			builds.Go(func() { d.build(t, 2*time.Second) })
			time.Sleep(time.Second)
		}
		builds.Wait()
		d.queue.Settle(t.Context())
		d.mu.Lock()
		defer d.mu.Unlock()
		if at := slices.Index(d.notes, "a is done"); at < 0 || at == len(d.notes)-2 {
			t.Errorf("%q", d.notes)
		}
	})
}

func TestPlacesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		for range maxTasks - 1 {
			if !d.add("a", time.Second) {
				t.Fatal("no place")
			}
		}
		if !d.queue.reserve() || d.add("b", time.Second) {
			t.Error("more than there are places for")
		}
		d.queue.release()
		if !d.add("b", time.Second) {
			t.Error("a place that was given up is lost")
		}
		d.queue.Settle(t.Context())
	})
}

func TestCloseEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		d.add("a", time.Hour)
		d.add("b", time.Hour)
		synctest.Wait()
		d.queue.Close()
		d.want(t, "a begins", "a is cut off", "a ends", "b ends")
		if d.add("c", time.Second) {
			t.Error("something is added after the end")
		}
		d.queue.Close()
	})
}

func TestAPanicEndsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		d.queue.reserve()
		d.queue.add(func(context.Context) { panic("a bug") }, func() { d.note("it ends") })
		d.add("b", time.Second)
		d.queue.Settle(t.Context())
		d.want(t, "it ends", "b begins", "b is done", "b ends")
	})
}

func TestABuildThatIsCanceledWhileItWaitsHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		d.add("a", time.Hour)
		synctest.Wait()
		d.queue.mu.Lock()
		d.queue.interruptible = false
		d.queue.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.queue.enter(ctx); err == nil {
			t.Error("it was let in")
		}
		d.queue.Close()
		d.want(t, "a begins", "a is cut off", "a ends")
	})
}

func TestATaskThatBuildsWaitForIsGivenUpIfItTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoing()
		d.add("a", time.Hour)
		for range maxPassed {
			time.Sleep(rest)
			synctest.Wait()
			d.build(t, 0)
		}
		synctest.Wait()
		d.want(t, "a begins", "a is cut off", "a build", "a begins", "a is cut off", "a build", "a begins", "a is cut off", "a build", "a begins")
		began := time.Now()
		d.build(t, 0)
		if waited := time.Since(began); waited != maxHeld {
			t.Errorf("the build waited for %v", waited)
		}
		d.want(t, "a is cut off", "a ends", "a build")
	})
}

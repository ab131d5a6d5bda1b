package app

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k6x"
	"k6x/event"
	"k6x/history"
)

// Services on one directory leave each other's builds alone as long as they live, so that one can be started before another one is stopped. Those
// of one that was killed the next one ends.
func TestAServiceLeavesTheBuildsOfAnotherOneAlone(t *testing.T) {
	dir := t.TempDir()
	start := func() (a *App, kill func()) {
		a, err := newWithWorkers(t, dir, WorkersOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		a.work.Go(func() { a.builds.Recorder.Run(ctx) })
		return a, func() {
			stop()
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	tell := func(a *App, id string, all ...event.Event) {
		for _, e := range all {
			e.Job, e.Path, e.Time = id, "/linux/amd64/k6@v1.0.0", time.Now()
			a.record(e)
		}
	}
	begun := []event.Event{{Type: event.Resolved}, {Type: event.Started}}
	failed := event.Event{Type: event.Failed, Failure: k6x.Errorf(k6x.BuildFailed, "it does not compile")}
	kept := func(where, id string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(dir, where, id+".json")); return err == nil }
	}
	ends := func(a *App, id string, want history.Outcome) {
		t.Helper()
		eventually(t, func() bool { return a.builds.History.Result(id) != nil })
		if r := a.builds.History.Result(id); r.Outcome != want {
			t.Errorf("%s: %+v", id, r)
		}
	}

	first, killFirst := start()
	tell(first, "1", begun...)
	eventually(t, kept("attempts", "1"))
	second, killSecond := start()
	if one, other := first.builds.Recorder.Service(), second.builds.Recorder.Service(); one == other {
		t.Error("two services have one id")
	}
	tell(second, "2", append(begun, failed)...)
	ends(second, "2", history.Failed) // after it looked for what others left
	if r := second.builds.History.Result("1"); r != nil {
		t.Errorf("it was ended: %+v", r)
	}
	tell(first, "1", event.Event{Type: event.Stored})
	ends(first, "1", history.Built)

	tell(first, "3", begun...)
	tell(second, "4", begun...)
	eventually(t, kept("attempts", "3"))
	eventually(t, kept("attempts-2", "4"))
	id := first.builds.Recorder.Service()
	killFirst()
	killSecond()
	third, killThird := start()
	defer killThird()
	ends(third, "3", history.Aborted)
	ends(third, "4", history.Aborted)
	if third.builds.Recorder.Service() != id {
		t.Error("a service has another id at its next start")
	}
}

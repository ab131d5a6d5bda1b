package native

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/event"
)

// watched returns a sink, and what it was sent, to be read when the build is done.
func watched() (event.Sink, *[]event.Event) {
	var seen []event.Event
	return func(e event.Event) { seen = append(seen, e) }, &seen
}

// wantForward fails the test if a step or count goes back.
func wantForward(t *testing.T, seen []event.Event) {
	t.Helper()
	for i, p := range seen[1:] {
		before := seen[i]
		if p.Step < before.Step || p.Step == before.Step && (p.Done < before.Done || p.Total < before.Total) {
			t.Errorf("from %+v back to %+v", before, p)
		}
	}
}

func steps(seen []event.Event) []event.Step {
	var list []event.Step
	for _, p := range seen {
		list = append(list, p.Step)
	}
	return slices.Compact(list)
}

// wantSteps fails the test unless seen is all of a build of k6 with k6/x/hello for which nothing was at hand.
func wantSteps(t *testing.T, seen []event.Event) {
	t.Helper()
	wantForward(t, seen)
	if got := steps(seen); !slices.Equal(got, []event.Step{event.Preparing, event.Fetching, event.Compiling, event.Linking, event.Checking}) {
		t.Errorf("steps %v", got)
	}
	said := fmt.Sprint(seen)
	for _, part := range []string{"go.k6.io/k6 v1.0.0", "example.com/xk6-hello v0.1.0", "internal/abi", " go.k6.io/k6/cmd "} {
		if !strings.Contains(said, part) {
			t.Errorf("%s is not named in %s", part, said)
		}
	}
}

func TestWatchedBuildThatFailsSaysTheSame(t *testing.T) {
	e := newEngine(t, Config{})
	fail := func(sink event.Sink) *k6x.Error {
		_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "world@v0.1.0", "broken@v0.1.0")}, sink, io.Discard)
		return k6x.AsError(err)
	}
	sink, seen := watched()
	failure, unwatched := fail(sink), fail(nil)
	if failure.Kind != k6x.BuildFailed || failure.Message != unwatched.Message || failure.Output != unwatched.Output {
		t.Errorf("watched:\n%s\n%s\nunwatched:\n%s\n%s", failure.Message, failure.Output, unwatched.Message, unwatched.Output)
	}
	if got := steps(*seen); !slices.Contains(got, event.Compiling) {
		t.Errorf("steps %v", got)
	}
}

// TestPackagesToCompileAreCounted has the go command count for a platform that nothing was
// compiled for, while some are being compiled.
func TestPackagesToCompileAreCounted(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0", "hello@v0.1.0")
	_, report := build(t, e, recipe, nil)
	recipe.Platform = k6x.Platform{OS: "plan9", Arch: "386"}
	ws, err := e.newWorkspace(recipe, &report.Lock)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()

	counted := make(chan event.Event, 1)
	ws.progress = gobuild.Watch(func(p event.Event) {
		if p.Total > 0 {
			select {
			case counted <- p:
			default: // the first will do
			}
		}
	})
	stop := e.count(t.Context(), ws)
	begun := []string{"internal/goarch", "internal/cpu", "internal/abi", "errors", "sync", "io", "unicode", "math", "sort", "cmp", "gone/already"}
	for _, path := range begun {
		ws.progress.Line(path)
	}
	got := <-counted
	stop()
	if got.Step != event.Compiling || got.Done > int64(len(begun)) || got.Total < 40 || got.Total > 200 {
		t.Errorf("%+v", got)
	}
}

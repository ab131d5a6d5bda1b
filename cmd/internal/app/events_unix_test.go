//go:build unix

package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/cmd/internal/buildevents"
	"k6x/event"
	"k6x/gotool"
	"k6x/history"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
	"k6x/service"
)

// sinks returns all that a service has for events, and which writes files of build events.
func sinks(b *testing.B) event.Sink {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	logs, err := cache.OpenLogs(b.TempDir(), 400, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	recorder := history.NewRecorder(history.New(journal.New(journal.Config{Bucket: &mem.Bucket{}}), 1000, log), &mem.Bucket{}, nil, "me", log)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { recorder.Run(ctx); close(ended) }()
	b.Cleanup(func() { stop(); <-ended })
	var o buildevents.Options
	cmd := &cobra.Command{}
	o.AddServiceFlags(cmd.Flags())
	if err := cmd.ParseFlags([]string{"--build-event-dir", b.TempDir()}); err != nil {
		b.Fatal(err)
	}
	streams, err := o.OpenBuilds(buildevents.BuildsConfig{URL: "https://builds.example.com", Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { streams.Close(context.Background()) })
	return event.Tee(new(event.Stream).Publish, recorder.Publish, service.NewMetrics().Count, logBuilds(log), service.KeepLogs(logs, log), streams.Publish)
}

// processor returns the processor time that this process and its children take for something.
func processor(b *testing.B, do func()) time.Duration {
	b.Helper()
	now := func() (sum time.Duration) {
		for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
			var used syscall.Rusage
			if err := syscall.Getrusage(who, &used); err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(used.Utime.Nano() + used.Stime.Nano())
		}
		return sum
	}
	before := now()
	do()
	return now() - before
}

// BenchmarkEventsOfABuild tells what the events of a build cost of its processor time. The build is the least that there is, of a small stand-in
// of which all packages are compiled before: %more is what it takes with events beyond what it takes without, in the same run, which the noise may
// hide; %events what its events take when they are sent again, as many times as are needed to measure that. ms/700 is the time of the events of a k6
// whose 700 packages are all compiled, for which that takes minutes.
func BenchmarkEventsOfABuild(b *testing.B) {
	dir := b.TempDir()
	b.Cleanup(func() { _ = cache.RemoveAll(dir) })
	if err := warmcache.CopyStandard(GoCache(dir)); err != nil {
		b.Fatal(err)
	}
	tool, err := gotool.Find(b.Context(), []string{"GOPROXY=" + testmod.Serve(b, filepath.Join("..", "..", "..", "testdata", "standin")), "GOSUMDB=off"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	engine, err := native.New(b.Context(), native.Config{Tool: tool, Dir: GoDir(dir)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = engine.Close() })
	recipe := k6x.NewRecipe(k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, []k6x.Module{
		{Path: "go.k6.io/k6", Version: "v1.0.0", Names: []string{"k6"}}, {Path: "example.com/xk6-hello", Version: "v0.1.0", Names: []string{"k6/x/hello"}},
	}, false, engine.Settings())
	build := func(events event.Sink) {
		job := builder.Job{ID: uuid.NewString(), Recipe: recipe}
		begun := event.Event{Job: job.ID, Path: recipe.Path(), Time: time.Now(), Type: event.Resolved}
		events.Send(begun)
		if _, err := builder.Run(b.Context(), engine, job, events, io.Discard); err != nil {
			b.Fatal(err)
		}
		begun.Type = event.Stored
		events.Send(begun)
	}
	all := sinks(b)
	build(all) // compiles
	var told []event.Event
	build(func(e event.Event) { told = append(told, e) })
	var without, with []time.Duration
	for b.Loop() {
		without = append(without, processor(b, func() { build(nil) }))
		with = append(with, processor(b, func() { build(all) }))
	}
	const replays = 50
	again := func(events []event.Event) float64 {
		return processor(b, func() {
			for range replays {
				id := uuid.NewString()
				for _, e := range events {
					e.Job = id
					all(e)
				}
			}
		}).Seconds() / replays
	}
	middle := func(all []time.Duration) float64 { return slices.Sorted(slices.Values(all))[len(all)/2].Seconds() }
	b.ReportMetric(middle(without), "s/build")
	b.ReportMetric(100*(middle(with)/middle(without)-1), "%more")
	b.ReportMetric(100*again(told)/middle(without), "%events")
	b.ReportMetric(1000*again(large(recipe.Path())), "ms/700")
}

// large returns the events of a build that fetches and compiles everything.
func large(path string) (events []event.Event) {
	add := func(e event.Event) {
		e.Path, e.Time = path, time.Now().UTC()
		events = append(events, e)
	}
	add(event.Event{Type: event.Resolved})
	add(event.Event{Type: event.Started})
	for step, count := range map[event.Step]int{event.Fetching: 100, event.Compiling: 700} {
		add(event.Event{Type: event.StepBegun, Step: step})
		for n := range count {
			add(event.Event{Type: event.Progress, Step: step, Item: fmt.Sprintf("example.com/a/module/%d v1.0.0", n), Done: int64(n), Total: int64(count)})
		}
		add(event.Event{Type: event.StepEnded, Step: step, Done: int64(count)})
	}
	for n := range 50 {
		add(event.Event{Type: event.Output, Output: fmt.Sprintf("go: a line that the go command prints, number %d\n", n)})
	}
	add(event.Event{Type: event.Finished})
	add(event.Event{Type: event.Stored, Size: 60 << 20})
	return events
}

package event_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/event"
)

func of(job string, t event.Type) event.Event { return event.Event{Job: job, Path: "/" + job, Type: t} }

func progress(job string, step event.Step, done int64) event.Event {
	e := of(job, event.Progress)
	e.Step, e.Done = step, done
	return e
}

// words writes events down in short.
func words(events []event.Event) string {
	var list []string
	for _, e := range events {
		word := string(e.Type)
		if e.Type == event.Progress {
			word = fmt.Sprint(e.Step, " ", e.Done)
		}
		list = append(list, word)
	}
	return strings.Join(list, ", ")
}

// subscribe reads a subscription to its end.
func subscribe(ctx context.Context, s *event.Stream, job string) <-chan []event.Event {
	all := make(chan []event.Event, 1)
	go func() { all <- collect(s.Subscribe(ctx, job, 0)) }()
	return all
}

func TestASubscriberGetsThePastAndThenWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s event.Stream
		s.Publish(of("a", event.Resolved))
		s.Publish(of("b", event.Resolved))
		s.Publish(of("a", event.Started))
		early := subscribe(t.Context(), &s, "a")
		synctest.Wait()
		s.Publish(of("a", event.Finished))
		late := subscribe(t.Context(), &s, "a")
		synctest.Wait()
		s.Publish(of("a", event.Stored))
		s.Publish(of("a", event.Started)) // nothing comes after the end
		after := subscribe(t.Context(), &s, "a")
		for _, c := range []<-chan []event.Event{early, late, after} {
			if got, want := words(<-c), "resolved, started, finished, stored"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		if got := <-subscribe(t.Context(), &s, "nobody's"); got != nil {
			t.Errorf("of a job that is not known: %v", got)
		}
	})
}

func TestASubscriberThatLeavesGetsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s event.Stream
		s.Publish(of("a", event.Resolved))
		ctx, cancel := context.WithCancel(t.Context())
		all := subscribe(ctx, &s, "a")
		synctest.Wait()
		cancel()
		if got := words(<-all); got != "resolved" {
			t.Errorf("got %s", got)
		}
		for range s.Subscribe(t.Context(), "a", 0) {
			break
		}
	})
}

func TestOfProgressWithinAStepTheLastIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s event.Stream
		live := make(chan event.Event)
		s.Publish(of("a", event.Started))
		go func() {
			defer close(live)
			for _, e := range s.Subscribe(t.Context(), "a", 0) {
				live <- e
			}
		}()
		if e := <-live; e.Type != event.Started {
			t.Errorf("%+v", e)
		}
		for i := range int64(1000) {
			s.Publish(progress("a", event.Compiling, i))
		}
		s.Publish(progress("a", event.Linking, 0))
		s.Publish(of("a", event.Failed))
		var got []event.Event
		for e := range live {
			got = append(got, e)
		}
		// The subscriber may have had one of them before the others came.
		if got := words(got); !regexp.MustCompile(`^(compiling \d+, )?compiling 999, linking 0, failed$`).MatchString(got) {
			t.Errorf("got %s", got)
		}
	})
}

func TestASlowSubscriberHoldsNothingUpAndAllIsBounded(t *testing.T) {
	var s event.Stream
	s.Publish(of("a", event.Resolved))
	held, let := make(chan struct{}), make(chan struct{})
	got := make(chan int, 1)
	go func() {
		n := 0
		for range s.Subscribe(t.Context(), "a", 0) {
			if n++; n == 1 {
				close(held)
				<-let
			}
		}
		got <- n
	}()
	<-held
	for range 10_000 {
		s.Publish(of("a", event.StepBegun))
	}
	e := of("a", event.Output)
	e.Output = strings.Repeat("ä", 1<<20)
	s.Publish(e)
	for i := range 1000 {
		s.Publish(of(fmt.Sprint(i), event.Resolved))
		s.Publish(of(fmt.Sprint(i), event.Stored))
	}
	if got := collect(s.Subscribe(t.Context(), "0", 0)); got != nil {
		t.Errorf("the first of many jobs that have ended is known: %v", got)
	}
	if got := collect(s.Subscribe(t.Context(), "999", 0)); len(got) != 2 {
		t.Errorf("of the last: %v", got)
	}
	s.Publish(of("a", event.Failed)) // which is known, however many came and went
	close(let)
	if n := <-got; n < 2 || n > 300 {
		t.Errorf("it got %d events", n)
	}
	if got := collect(s.Subscribe(t.Context(), "a", 0)); len(got) == 0 || got[len(got)-1].Type != event.Failed {
		t.Errorf("of a job that was under way: %v", got)
	}
}

func TestJobsUnderWayAreBounded(t *testing.T) {
	var s event.Stream
	const many = 20_000
	for i := range many {
		s.Publish(of(fmt.Sprint(i), event.Resolved))
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if got := collect(s.Subscribe(ended, "0", 0)); len(got) != 1 {
		t.Errorf("of the first: %v", got)
	}
	if got := collect(s.Subscribe(ended, fmt.Sprint(many-1), 0)); got != nil {
		t.Errorf("one more than there can be is known: %v", got)
	}
	for i := range many {
		s.Publish(of(fmt.Sprint(i), event.Failed))
	}
	s.Publish(of("next", event.Resolved))
	if got := collect(s.Subscribe(ended, "next", 0)); len(got) != 1 {
		t.Errorf("once they have ended: %v", got)
	}
}

func TestOutputIsBounded(t *testing.T) {
	var s event.Stream
	failed := of("b", event.Failed)
	failed.Failure = &k6x.Error{Kind: k6x.BuildFailed, Message: "no", Output: strings.Repeat("x", 1<<20), Err: io.EOF}
	s.Publish(failed)
	for _, e := range s.Subscribe(t.Context(), "b", 0) {
		if f := e.Failure; f == nil || f.Message != "no" || f.Output != "" || f.Err != nil {
			t.Errorf("%+v", f)
		}
	}
	if failed.Failure.Output == "" {
		t.Error("the failure of the caller was changed")
	}
	e := of("a", event.Output)
	e.Output = strings.Repeat("x", 1<<20)
	s.Publish(e)
	s.Publish(of("a", event.Failed))
	if all := collect(s.Subscribe(t.Context(), "a", 0)); len(all) != 2 || len(all[0].Output) != 64<<10 {
		t.Errorf("%d events", len(all))
	}
}

func TestRunningIsHowFarABuildIs(t *testing.T) {
	var s event.Stream
	running := func(want string) {
		t.Helper()
		got := "nothing"
		if e, ok := s.Running("/a"); ok {
			got = words([]event.Event{e})
		}
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	running("nothing")
	s.Publish(of("a", event.Queued))
	running("nothing")
	s.Publish(of("a", event.Started))
	running("started")
	s.Publish(progress("a", event.Fetching, 3))
	s.Publish(of("a", event.StepEnded))
	running("fetching 3")
	s.Publish(of("a", event.Finished))
	running("nothing")
}

func TestAnEventCanBeSentAsJSON(t *testing.T) {
	sent := event.Event{Job: "a", Path: "/linux/amd64/k6@v1.8.1", Key: "k", Client: "c", Time: time.Unix(1, 0).UTC(), Type: event.Finished,
		Locked: true, Step: event.Preparing, Item: "i", Done: 1, Total: 2, Duration: time.Second, Output: "o", Digest: "d", Size: 3,
		Failure: &k6x.Error{Kind: k6x.BuildFailed, Message: "m", Hint: "h", Output: "o", RetryAfter: time.Second,
			Limit: k6x.Limit{Name: k6x.LimitMemory, Value: 1}, Err: io.EOF}}
	data, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"type":"finished"`, `"step":"preparing"`, `"kind":"build_failed"`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("%s is not in %s", part, data)
		}
	}
	var got event.Event
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	sent.Failure.Err = nil // the cause is for the log of this machine
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
	if err := json.Unmarshal([]byte(`{"step":"guessing"}`), &got); err == nil {
		t.Error("an unknown step is read")
	}
}

func TestASinkMayBeNil(t *testing.T) {
	var got []event.Event
	all := event.Tee(nil, func(e event.Event) { got = append(got, e) })
	all.Progress(event.Pulling, "an image", 1, 2)
	event.Sink(nil).Progress(event.Pulling, "", 0, 0)
	if words(got) != "pulling 1" || got[0].Item != "an image" || got[0].Time.IsZero() {
		t.Errorf("%+v", got)
	}
}

func collect(events iter.Seq2[int, event.Event]) (all []event.Event) {
	for _, e := range events {
		all = append(all, e)
	}
	return all
}

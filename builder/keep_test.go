package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"k6x"
	"k6x/cache"
	"k6x/event"
)

var errBroken = errors.New("the disk is broken")

// shelf is a store of one artifact.
type shelf struct {
	cache.Store
	record *k6x.Artifact
	bytes  []byte // nil if evicted
	fail   error

	damaged bool // the bytes: Verify finds out
}

func (s *shelf) Open(context.Context, string) (*cache.Entry, error) {
	if s.bytes == nil {
		return nil, cache.ErrEvicted
	}
	return &cache.Entry{Body: bytes.NewReader(s.bytes)}, nil
}

func (s *shelf) Verify(context.Context, string) error {
	if s.bytes == nil || s.damaged {
		s.bytes = nil
		return cache.ErrEvicted
	}
	return nil
}

func (s *shelf) Record(context.Context, string) (k6x.Artifact, error) {
	if s.fail != nil {
		return k6x.Artifact{}, s.fail
	}
	if s.record == nil {
		return k6x.Artifact{}, cache.ErrNotFound
	}
	return *s.record, nil
}

func (s *shelf) Put(_ context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error), _ ...cache.PutOption) (k6x.Artifact, error) {
	var buf bytes.Buffer
	build, err := fill(&buf)
	if err != nil {
		return k6x.Artifact{}, err
	}
	s.bytes, s.damaged = buf.Bytes(), false
	s.record = &k6x.Artifact{Recipe: recipe, Size: int64(len(s.bytes)), Build: build}
	return *s.record, nil
}

// engine writes the version of k6 and counts.
type engine struct {
	builds int
	lock   *k6x.Lock // of the last build
	says   string    // while it builds
	err    error
}

func (e *engine) Build(_ context.Context, job Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	e.builds++
	e.lock = job.Lock
	for done := range int64(2) {
		report.Progress(event.Compiling, "a/package", done+1, 2)
	}
	report.Progress(event.Linking, "", 0, 0)
	if e.says != "" {
		report.Send(event.Event{Type: event.Output, Output: e.says})
	}
	if e.err != nil {
		return k6x.Build{}, e.err
	}
	_, err := io.WriteString(w, job.Recipe.K6.Version)
	return k6x.Build{Lock: k6x.Lock{GoMod: "module k6"}, Warnings: []string{"it is odd"}}, err
}

func TestWarningsAreInTheRecordAndInTheEvents(t *testing.T) {
	var said []string
	b := Keep(&engine{}, &shelf{}, func(e event.Event) { said = append(said, e.Warnings...) })
	artifact, err := b.Build(t.Context(), job("", "v1.0.0"))
	if err != nil || len(artifact.Build.Warnings) != 1 || len(said) != 1 || said[0] != "it is odd" {
		t.Errorf("%v: record %q, events %q", err, artifact.Build.Warnings, said)
	}
}

func TestKeepBuildsOnlyWhatIsNotThere(t *testing.T) {
	s, e := &shelf{}, &engine{}
	b := Keep(e, s, nil)
	for range 3 {
		artifact, err := b.Build(t.Context(), job("", "v1.0.0"))
		if err != nil {
			t.Fatal(err)
		}
		if artifact.Build.Lock.GoMod == "" {
			t.Error("the record is not the one that was stored")
		}
	}
	if e.builds != 1 || e.lock != nil || string(s.bytes) != "v1.0.0" {
		t.Errorf("%d builds, lock %v, bytes %q", e.builds, e.lock, s.bytes)
	}
}

func TestKeepRebuildsWhatWasEvictedWithItsLock(t *testing.T) {
	s, e := &shelf{}, &engine{}
	b := Keep(e, s, nil)
	for range 2 {
		if _, err := b.Build(t.Context(), job("", "v1.0.0")); err != nil {
			t.Fatal(err)
		}
		s.bytes = nil
	}
	if e.builds != 2 || e.lock == nil || e.lock.GoMod != "module k6" {
		t.Errorf("%d builds, the last with lock %v", e.builds, e.lock)
	}
}

func TestKeepReturnsTheErrorsOfStoreAndEngineAsTheyAre(t *testing.T) {
	e := &engine{err: errBroken}
	if _, err := Keep(e, &shelf{}, nil).Build(t.Context(), job("", "v1.0.0")); err != errBroken {
		t.Errorf("engine: %v", err)
	}
	e = &engine{}
	if _, err := Keep(e, &shelf{fail: errBroken}, nil).Build(t.Context(), job("", "v1.0.0")); err != errBroken || e.builds != 0 {
		t.Errorf("store: %v after %d builds", err, e.builds)
	}
}

// wrong is an engine that panics.
type wrong struct{ Engine }

func TestTheEventsOfAJob(t *testing.T) {
	compileError := k6x.Errorf(k6x.BuildFailed, "no")
	compileError.Output = "a.go:1: no"
	for name, c := range map[string]struct {
		engine Engine
		job    Job
		want   string
	}{
		"a build": {&engine{}, job("alice", "v1.0.0"), `resolved of alice
started of alice
step_begun of alice: compiling
progress of alice: compiling a/package 1 of 2
progress of alice: compiling a/package 2 of 2
step_ended of alice: compiling 2 of 2
step_begun of alice: linking
progress of alice: linking
step_ended of alice: linking
finished of alice
stored of alice: 6 bytes
`},
		"a failure": {&engine{err: compileError}, job("alice", "v1.0.0"), `resolved of alice
started of alice
step_begun of alice: compiling
progress of alice: compiling a/package 1 of 2
progress of alice: compiling a/package 2 of 2
step_ended of alice: compiling 2 of 2
step_begun of alice: linking
progress of alice: linking
step_ended of alice: linking
output of alice: a.go:1: no
finished of alice: build_failed: no
failed of alice: build_failed: no
`},
		"a failure that was told as it came": {&engine{err: compileError, says: "a.go:1"}, job("alice", "v1.0.0"), `resolved of alice
started of alice
step_begun of alice: compiling
progress of alice: compiling a/package 1 of 2
progress of alice: compiling a/package 2 of 2
step_ended of alice: compiling 2 of 2
step_begun of alice: linking
progress of alice: linking
output of alice: a.go:1
step_ended of alice: linking
finished of alice: build_failed: no
failed of alice: build_failed: no
`},
		"a panic": {wrong{}, behind("v1.0.0"), `resolved of preload
started of preload
finished of preload: internal: something went wrong in this service
failed of preload: internal: something went wrong in this service
`},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			ids := make(map[string]bool)
			sink := func(e event.Event) {
				if e.Path != recipe("v1.0.0").Path() || e.Key != recipe("v1.0.0").Key() || e.Time.IsZero() {
					t.Errorf("an event is %+v", e)
				}
				ids[e.Job] = true
				fmt.Fprintln(&got, written(e))
			}
			d := NewDedup(NewLimit(Keep(c.engine, &shelf{}, sink), LimitConfig{Events: sink}), DedupConfig{Events: sink})
			_, _ = d.Build(t.Context(), c.job)
			if err := d.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want {
				t.Errorf("got\n%swant\n%s", got.String(), c.want)
			}
			if len(ids) != 1 || ids[""] {
				t.Errorf("job ids %v", ids)
			}
		})
	}
}

// written writes an event as a line.
func written(e event.Event) string {
	var words []string
	if e.Step != 0 {
		words = append(words, e.Step.String())
	}
	if e.Item != "" {
		words = append(words, e.Item)
	}
	if e.Total > 0 {
		words = append(words, fmt.Sprintf("%d of %d", e.Done, e.Total))
	}
	if e.Output != "" {
		words = append(words, e.Output)
	}
	if e.Size > 0 {
		words = append(words, fmt.Sprintf("%d bytes", e.Size))
	}
	if e.Failure != nil {
		words = append(words, e.Failure.Kind.String()+": "+e.Failure.Message)
	}
	if text := strings.Join(words, " "); text != "" {
		return fmt.Sprintf("%s of %s: %s", e.Type, e.Client, text)
	}
	return fmt.Sprintf("%s of %s", e.Type, e.Client)
}

func TestFinishedSaysWhetherALockWasUsed(t *testing.T) {
	s, e := &shelf{}, &engine{}
	var locked []bool
	b := Keep(e, s, func(e event.Event) {
		if e.Type == event.Finished {
			locked = append(locked, e.Locked)
		}
	})
	for range 2 {
		if _, err := b.Build(t.Context(), job("", "v1.0.0")); err != nil {
			t.Fatal(err)
		}
		s.bytes = nil
	}
	if !slices.Equal(locked, []bool{false, true}) {
		t.Errorf("locked: %v", locked)
	}
}

func TestAJobThatWaitsIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var queued []string
		next := newFake()
		l := NewLimit(next, LimitConfig{Events: func(e event.Event) { queued = append(queued, e.Client) }})
		begin(t.Context(), l, job("a", "v1.0.0"))
		begin(t.Context(), l, job("b", "v1.0.0"))
		if !slices.Equal(queued, []string{"b"}) {
			t.Errorf("queued: %v", queued)
		}
		finish(next, 2)
	})
}

// A client that joins a job of the background makes it its own, also in what is said of the end.
func TestAPromotedJobEndsForItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last event.Event
		next := newFake()
		d := NewDedup(NewLimit(next, LimitConfig{}), DedupConfig{Events: func(e event.Event) { last = e }})
		begin(t.Context(), d, behind("v1.0.0"))
		begin(t.Context(), d, job("alice", "v1.0.0"))
		finish(next, 1)
		if last.Type != event.Stored || last.Client != "alice" {
			t.Errorf("%+v", last)
		}
	})
}

func TestAJobCanBeSentAsJSON(t *testing.T) {
	sent := behind("v1.0.0")
	sent.ID, sent.Rebuild, sent.Lock = "id", true, &k6x.Lock{GoMod: "module k6", GoSum: "sum"}
	data, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got Job
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sent) {
		t.Errorf("%+v, want %+v", got, sent)
	}
}

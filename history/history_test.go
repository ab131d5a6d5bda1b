package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/event"
)

const redis = "/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6"

func open(t testing.TB, b blob.Bucket, max int) *History {
	t.Helper()
	h := New(journal.New(journal.Config{Bucket: b, Prefix: "news/"}), max, slog.New(slog.DiscardHandler))
	if err := h.view.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// attempt publishes the events of one, up to the last.
func attempt(sink event.Sink, id, path string, last event.Event) {
	begun := time.Now().UTC()
	for i, e := range []event.Event{
		{Type: event.Resolved}, {Type: event.Started},
		{Type: event.StepBegun, Step: event.Linking},
		{Type: event.StepEnded, Step: event.Linking, Duration: 1500 * time.Millisecond},
		last,
	} {
		e.Job, e.Path, e.Time = id, path, begun.Add(time.Duration(i)*time.Second)
		if e.Type != "" {
			sink(e)
		}
	}
}

var broken = k6x.Errorf(k6x.BuildFailed, "it does not compile")

func TestResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, pending := &mem.Bucket{}, &mem.Bucket{}
		h := open(t, b, 100)
		r := NewRecorder(h, pending, nil, "me", slog.Default())
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		attempt(r.Publish, "a", redis, event.Event{Type: event.Stored, Digest: "abc", Size: 50})
		attempt(r.Publish, "b", redis, event.Event{Type: event.Failed, Failure: broken})
		attempt(r.Publish, "c", "/windows/arm64/k6@v1.8.1", event.Event{})
		r.Publish(event.Event{Job: "d", Path: redis, Type: event.Resolved})
		r.Publish(event.Event{Job: "d", Path: redis, Type: event.Stored}) // it was kept: no attempt
		synctest.Wait()
		if running := r.Running(); len(running) != 1 || running[0].ID != "c" || r.Result("c").Outcome != Running {
			t.Errorf("running: %+v", running)
		}
		results, next := h.Results(Filter{})
		if len(results) != 2 || next != 0 || results[0].Result.ID != "b" || results[1].Result.ID != "a" {
			t.Fatalf("got %+v", results)
		}
		text, err := json.Marshal(results[1].Result)
		want := `"queued":1.000,"steps":[{"name":"linking","seconds":1.500}],"outcome":"built","digest":"abc","size":50}`
		if err != nil || !json.Valid(text) || !strings.HasSuffix(string(text), want) {
			t.Errorf("got %s", text)
		}
		if got := r.Result("b"); got.Outcome != Failed || got.Kind != "build_failed" || got.Modules[1] != (Module{"k6/x/redis", "v0.3.6"}) {
			t.Errorf("got %+v", got)
		}
		stop()
		<-done
		// The next process ends what this one did not.
		h = open(t, b, 100)
		r = NewRecorder(h, pending, nil, "me", slog.Default())
		ctx, stop = context.WithCancel(t.Context())
		done = make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		synctest.Wait()
		if got := r.Result("c"); got == nil || got.Outcome != Aborted || got.Platform != "windows/arm64" || !got.Ended.IsZero() || got.Last().Time.IsZero() {
			t.Errorf("got %+v", got)
		}
		if n := count(t, pending); n != 0 {
			t.Errorf("%d results are left", n)
		}
		stop()
		<-done
	})
}

func count(t *testing.T, b blob.Bucket) (n int) {
	for _, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// failing fails writes after the first ones, as at a kill.
type failing struct {
	mu   sync.Mutex // guards what follows
	left int
}

var errKilled = errors.New("killed")

func (f *failing) step() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left < 0 {
		return errKilled
	}
	return nil
}

// Wherever the process is killed, each attempt has one result.
func TestKilledAtEachStep(t *testing.T) {
	for steps := range 12 {
		synctest.Test(t, func(t *testing.T) {
			news, pending := &mem.Bucket{}, &mem.Bucket{}
			kill := &failing{left: steps}
			for n, b := range []struct{ news, pending blob.Bucket }{
				{&shared{news, kill}, &shared{pending, kill}}, {news, pending},
			} {
				h := open(t, b.news, 100)
				r := NewRecorder(h, b.pending, nil, "me", slog.New(slog.DiscardHandler))
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { r.Run(ctx); close(done) }()
				if n == 0 {
					attempt(r.Publish, "a", redis, event.Event{Type: event.Stored})
					attempt(r.Publish, "b", redis, event.Event{Type: event.Failed, Failure: broken})
				}
				synctest.Wait()
				stop()
				<-done
				r.Flush(t.Context())
			}
			results, _ := open(t, news, 100).Results(Filter{})
			var ids []string
			for _, n := range results {
				ids = append(ids, n.Result.ID)
			}
			slices.Sort(ids)
			if len(slices.Compact(slices.Clone(ids))) != len(ids) || count(t, pending) != 0 || steps >= 2 && len(ids) == 0 {
				t.Errorf("killed after %d writes: %q, %d left", steps, ids, count(t, pending))
			}
		})
	}
}

// A disk that is full loses no result, and nor does a bucket that is away at the same time.
func TestFullDisk(t *testing.T) {
	for _, away := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			news, pending := &mem.Bucket{}, &mem.Bucket{}
			full, gone := &failing{left: 1}, &failing{left: 1000} // the disk has room for what says that the attempt runs
			if away {
				gone.left = 0
			}
			h := open(t, &shared{news, gone}, 100)
			r := NewRecorder(h, &puts{pending, full}, nil, "me", slog.New(slog.DiscardHandler))
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { r.Run(ctx); close(done) }()
			synctest.Wait()
			attempt(r.Publish, "a", redis, event.Event{Type: event.Stored})
			synctest.Wait()
			if got := r.Result("a"); got == nil || got.Outcome != Built {
				t.Errorf("bucket away %v: got %+v", away, got)
			}
			gone.mu.Lock()
			gone.left = 1000
			gone.mu.Unlock()
			time.Sleep(11 * time.Second)
			synctest.Wait()
			results, _ := open(t, news, 100).Results(Filter{})
			if len(results) != 1 || results[0].Result.Outcome != Built || count(t, pending) != 0 || len(r.Running()) != 0 {
				t.Errorf("bucket away %v: got %+v, %d left", away, results, count(t, pending))
			}
			stop()
			<-done
		})
	}
}

// A result that could not be written is tried again, however many others are written meanwhile.
func TestRetriesWhileOthersAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := &failing{}
		h := open(t, &shared{&mem.Bucket{}, gone}, 100)
		r := NewRecorder(h, &mem.Bucket{}, nil, "me", slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		attempt(r.Publish, "a", redis, event.Event{Type: event.Stored})
		synctest.Wait()
		gone.mu.Lock()
		gone.left = 1000
		gone.mu.Unlock()
		for n := range 4 {
			time.Sleep(5 * time.Second)
			attempt(r.Publish, fmt.Sprint(n), redis, event.Event{Type: event.Stored})
		}
		synctest.Wait()
		if h.Result("a") == nil {
			t.Error("it was not")
		}
		stop()
		<-done
	})
}

// puts is a bucket in which only writes fail.
type puts struct {
	blob.Bucket
	kill *failing
}

func (p *puts) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	return (&shared{p.Bucket, p.kill}).Put(ctx, name, body, size, o)
}

// shared is one of several buckets that fail together.
type shared struct {
	blob.Bucket
	kill *failing
}

func (s *shared) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	if err := s.kill.step(); err != nil {
		return blob.Info{}, err
	}
	return s.Bucket.Put(ctx, name, body, size, o)
}

func (s *shared) Delete(ctx context.Context, name string) error {
	if err := s.kill.step(); err != nil {
		return err
	}
	return s.Bucket.Delete(ctx, name)
}

func TestFiltersAndPages(t *testing.T) {
	h := open(t, &mem.Bucket{}, 8)
	for i := range 10 {
		outcome := Built
		if i%3 == 0 {
			outcome = Failed
		}
		r := &Result{ID: fmt.Sprint(i), Platform: "linux/amd64", Outcome: outcome, Begun: time.Unix(int64(i), 0),
			Modules: []Module{{"k6", "v1.8.1"}, {"k6/x/redis", fmt.Sprintf("v0.3.%d", i)}}}
		if err := h.Append(t.Context(), Entry{Type: Build, Result: r}); err != nil {
			t.Fatal(err)
		}
	}
	for want, f := range map[string]Filter{
		"[9 8 7 6 5 4 3 2]": {},
		"[9 6 3]":           {Outcome: Failed},
		"[7]":               {Extension: "k6/x/redis", Version: "v0.3.7"},
		"[9 8]":             {Since: time.Unix(8, 0), K6: "v1.8.1", Platform: "linux/amd64"},
		"[]":                {K6: "v1.8.0"},
	} {
		var all []string
		for f.Limit = 2; ; {
			page, next := h.Results(f)
			for _, n := range page {
				all = append(all, n.Result.ID)
			}
			if f.Before = next; next == 0 {
				break
			}
		}
		if got := fmt.Sprint(all); got != want {
			t.Errorf("%+v: got %s, want %s", f, got, want)
		}
	}
}

func TestMatrix(t *testing.T) {
	h := open(t, &mem.Bucket{}, 100)
	for i, outcome := range []Outcome{Built, Failed, Aborted, Failed} {
		r := &Result{ID: fmt.Sprint(i), Platform: "linux/amd64", Outcome: outcome, Begun: time.Unix(int64(i), 0).UTC(),
			Modules: []Module{{"k6", "v1.8.1"}, {"k6/x/redis", "v0.3.6"}}}
		if err := h.Append(t.Context(), Entry{Type: Build, Result: r}); err != nil {
			t.Fatal(err)
		}
	}
	want := []Cell{{Extension: "k6/x/redis", Version: "v0.3.6", K6: "v1.8.1", Platform: "linux/amd64", Outcome: Failed, Since: time.Unix(1, 0).UTC(), Build: "3"}}
	if got, more := h.Matrix("", "", "linux/amd64", Known{}); !slices.Equal(got, want) || more {
		t.Errorf("got %+v", got)
	}
	if got, _ := h.Matrix("", "v1.8.0", "", Known{}); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	// What was not tried.
	known := Known{Extensions: []string{"k6/x/other", "k6/x/redis"}, Versions: map[string][]string{"k6/x/redis": {"v0.4.0", "v0.3.6"}}, Platforms: []string{"linux/amd64", "linux/arm64"}}
	for question, want := range map[[3]string]string{
		{"", "", ""}: "k6/x/other@ linux/amd64 untried, k6/x/other@ linux/arm64 untried, k6/x/redis@v0.3.6 linux/arm64 untried, k6/x/redis@v0.3.6 linux/amd64 failed, " +
			"k6/x/redis@v0.4.0 linux/amd64 untried, k6/x/redis@v0.4.0 linux/arm64 untried, ",
		{"k6/x/redis", "v1.8.0", "linux/amd64"}: "k6/x/redis@v0.3.6 linux/amd64 untried, k6/x/redis@v0.4.0 linux/amd64 untried, ",
	} {
		cells, _ := h.Matrix(question[0], question[1], question[2], known)
		got := ""
		for _, c := range cells {
			got += fmt.Sprintf("%s@%s %s %s, ", c.Extension, c.Version, c.Platform, c.Outcome)
		}
		if got != want {
			t.Errorf("%q: got %s", question, got)
		}
	}
	for n := range 10_000 {
		known.Extensions = append(known.Extensions, fmt.Sprint("k6/x/", n))
	}
	if cells, more := h.Matrix("", "", "", known); len(cells) > maxCells || !more {
		t.Errorf("%d cells", len(cells))
	}
}

func TestWhoIsAtFault(t *testing.T) {
	two := []Module{{"k6", "v1.8.1"}, {"k6/x/sql", "v1.0.0"}, {"k6/x/sql/driver/ramsql", "v0.1.0"}}
	for _, test := range []struct {
		modules []Module
		kind    k6x.Kind
		message string
		want    string
	}{
		{two, k6x.BuildFailed, "k6/x/sql/driver/ramsql (example.com/ramsql@v0.1.0) does not compile:\nk6/x/sql: no", "k6/x/sql/driver/ramsql"},
		{two, k6x.BuildFailed, "example.com/log@v0.1.0, which k6/x/sql (example.com/sql@v1.0.0) needs, does not compile", "k6/x/sql"},
		{two, k6x.Conflict, "k6/x/sql (example.com/sql@v1.0.0) needs k6 v1.9.0, but v1.8.1 was asked for", "k6/x/sql"},
		{two, k6x.BuildFailed, "the linker failed", ""},
		{two[:2], k6x.BuildFailed, "the linker failed", "k6/x/sql"},
		{two[:1], k6x.BuildFailed, "the linker failed", ""},
		{two[:2], k6x.Timeout, "k6/x/sql took too long", ""},
	} {
		if got := AtFault(test.modules, k6x.Errorf(test.kind, "%s", test.message)); got != test.want {
			t.Errorf("%q: got %q, want %q", test.message, got, test.want)
		}
	}
}

func TestAppendUnless(t *testing.T) {
	b := &mem.Bucket{}
	one, other := open(t, b, 100), open(t, b, 100)
	e := Entry{Type: Version, Module: "example.com/one", Name: "k6/x/one", Version: "v0.1.0"}
	for i, h := range []*History{one, other, one} {
		appended, err := h.AppendUnless(t.Context(), e, func() bool { return h.Seen(e.Module, e.Version) })
		if err != nil || appended != (i == 0) {
			t.Errorf("%d: got %v, %v", i, appended, err)
		}
	}
}

func TestWhatIsNoEntryIsPassedOver(t *testing.T) {
	h := open(t, &mem.Bucket{}, 100)
	for i := range 7 {
		if _, err := h.view.Append(t.Context(), func() any { return "garbage" }); err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			if err := h.Append(t.Context(), Entry{Type: Version, Module: "example.com/one"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for since, want := range map[int64]string{0: "1 entries to 6", 4: "1 entries to 6", 6: "0 entries to 8", 8: "0 entries to 8"} {
		entries, last, err := h.Changes(t.Context(), since, 2)
		if got := fmt.Sprintf("%d entries to %d", len(entries), last); got != want || err != nil || h.Last() != 8 {
			t.Errorf("behind %d: %s (%v), want %s", since, got, err, want)
		}
	}
}

// A client that is told of a build asks for it at once.
func TestWhatIsToldIsKnown(t *testing.T) {
	b := &mem.Bucket{}
	h, other := open(t, b, 10), open(t, b, 10)
	if err := h.Append(t.Context(), Entry{Type: Build, Result: &Result{ID: "a", Path: redis}}); err != nil {
		t.Fatal(err)
	}
	if err := other.Wait(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if changes, _, err := other.Changes(t.Context(), 0, 10); err != nil || len(changes) != 1 || other.Result("a") == nil {
		t.Errorf("%v, %v, %v", changes, other.Result("a"), err)
	}
}

func TestLastAttempt(t *testing.T) {
	h := open(t, &mem.Bucket{}, 100)
	k6, one, two := Module{"k6", "v1.8.1"}, Module{"k6/x/one", "v0.1.0"}, Module{"k6/x/two", "v0.1.0"}
	for i, modules := range [][]Module{{k6}, {k6, one}, {{"k6", "v1.9.0"}, one}, {k6, one, two}} {
		r := &Result{ID: fmt.Sprint(i), Platform: "linux/amd64", Outcome: Built, Modules: modules}
		if err := h.Append(t.Context(), Entry{Type: Build, Result: r}); err != nil {
			t.Fatal(err)
		}
	}
	for m, want := range map[Module]string{k6: "0", one: "2", two: ""} {
		got := ""
		if r := h.LastAttempt(m.Name, m.Version, "linux/amd64"); r != nil {
			got = r.ID
		}
		if got != want {
			t.Errorf("%v: got %q, want %q", m, got, want)
		}
	}
	if r := h.LastAttempt("k6", "v1.8.1", "linux/arm64"); r != nil {
		t.Errorf("of another platform: %+v", r)
	}
}

// What a worker built is verified by who made the same by himself, and by nobody else; who is doubted verifies nothing.
func TestUnverified(t *testing.T) {
	h := open(t, &mem.Bucket{}, 100)
	for i, r := range []Result{
		{Worker: "w1", Outcome: Built, Digest: "verified"},
		{Worker: "w1", Outcome: Built, Digest: "made again"},
		{Worker: "w1", Outcome: Built, Digest: "differs"},
		{Worker: "w1", Outcome: Failed},
		{Worker: "w2", Outcome: Built, Digest: "of another"},
		{Worker: "w2", Outcome: Built, Digest: "verified", Alone: true},
		{Worker: "w2", Outcome: Built, Digest: "made again"},
		{Worker: "w1", Outcome: Built, Digest: "made again", Alone: true},
		{Worker: "w2", Outcome: Differs, Digest: "differs", Alone: true},
		{Worker: "w3", Outcome: Built, Digest: "of one that is doubted"},
		{Worker: "w1", Outcome: Built, Digest: "of one that is doubted"},
		{Worker: "w3", Outcome: Built, Digest: "of one that is doubted", Alone: true},
		{Worker: "w1", Outcome: Built, Digest: "later verified here"},
		{Outcome: Built, Digest: "later verified here", Alone: true},
		{Worker: "w1", Outcome: Built, Digest: "last"},
		{Worker: "w1", Outcome: Built, Digest: "last"},
	} {
		r.ID, r.Path = fmt.Sprint(i), "/"+r.Digest
		if err := h.Append(t.Context(), Entry{Type: Build, Result: &r}); err != nil {
			t.Fatal(err)
		}
	}
	all := []string{"/last", "/of one that is doubted", "/made again", "/differs"}
	for _, c := range []struct {
		doubted map[string]bool
		limit   int
		want    map[string][]string
	}{
		{map[string]bool{"w1": true}, 100, map[string][]string{"w1": slices.Delete(slices.Clone(all), 1, 2)}},
		{map[string]bool{"w1": true, "w3": false}, 100, map[string][]string{"w1": all}},
		{map[string]bool{"w1": true, "w3": true}, 3, map[string][]string{"w1": all[:2], "w3": all[1:2]}},
		{nil, 100, map[string][]string{}},
	} {
		if got := h.Unverified(c.doubted, c.limit); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: got %q, want %q", c.doubted, got, c.want)
		}
	}
}

// What is kept beside the entries goes with them.
func TestLastResultsGoWithTheirEntries(t *testing.T) {
	h := New(journal.New(journal.Config{Bucket: &mem.Bucket{}}), 3, slog.New(slog.DiscardHandler))
	add := func(id, path, version, platform string, outcome Outcome) {
		t.Helper()
		r := &Result{ID: id, Path: path, Platform: platform, Outcome: outcome, Begun: time.Unix(1, 0), Modules: []Module{{"k6", "v1.0.0"}, {"k6/x/a", version}}}
		if err := h.Append(t.Context(), Entry{Type: Build, Result: r}); err != nil {
			t.Fatal(err)
		}
	}
	of := func(version string) string {
		if r := h.Alone(Module{"k6/x/a", version}); r != nil {
			return r.ID
		}
		return ""
	}
	add("1", "/a", "v0.1.0", "linux/amd64", Built)
	add("2", "/b", "v0.1.0", "linux/arm64", Failed)
	add("3", "/a", "v0.1.0", "linux/amd64", Aborted)
	if of("v0.1.0") != "2" || h.LastOf("/a").ID != "3" || h.LastBuilt("k6/x/a", "linux/amd64") != "v0.1.0" || h.LastBuilt("k6/x/a", "linux/arm64") != "" {
		t.Errorf("%s, %+v, %q", of("v0.1.0"), h.LastOf("/a"), h.LastBuilt("k6/x/a", "linux/amd64"))
	}
	add("4", "/c", "v0.2.0", "linux/amd64", Built) // 1 goes
	if h.LastBuilt("k6/x/a", "linux/amd64") != "v0.2.0" || h.LastOf("/a").ID != "3" || of("v0.1.0") != "2" {
		t.Errorf("%q", h.LastBuilt("k6/x/a", "linux/amd64"))
	}
	add("5", "/c", "v0.2.0", "linux/amd64", Built)
	add("6", "/c", "v0.2.0", "linux/amd64", Built) // 2 and 3 go
	if of("v0.1.0") != "" || h.LastOf("/a") != nil || h.LastOf("/b") != nil || of("v0.2.0") != "6" || len(h.alone) != 1 || len(h.byPath) != 1 {
		t.Errorf("%q %v %v", of("v0.1.0"), h.alone, h.byPath)
	}
}

package watch_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/history"
	"k6x/resolver"
	"k6x/watch"
)

// world is a registry and a module proxy that grow, and break.
type world struct {
	mu      sync.Mutex          // guards what follows
	modules map[string][]string // versions, by path; names are k6/x/LAST
	goMod   map[string]string   // lines of the go.mod file of path@version
	broken  map[string]bool     // "registry", or the path of a module
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if req.URL.Path == "/registry.json" {
		if w.broken["registry"] {
			http.Error(rw, "broken", http.StatusBadGateway)
			return
		}
		var entries []string
		for path := range w.modules {
			name := "k6"
			if path != "go.k6.io/k6" {
				name = "k6/x/" + filepath.Base(path)
			}
			entries = append(entries, fmt.Sprintf(`{"module": %q, "imports": [%q], "tier": "official"}`, path, name))
		}
		slices.Sort(entries)
		_, _ = io.WriteString(rw, "["+strings.Join(entries, ",")+"]")
		return
	}
	path, rest, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/@v/")
	versions := w.modules[path]
	version := strings.TrimSuffix(rest, ".mod")
	switch {
	case w.broken[path]:
		http.Error(rw, "broken", http.StatusBadGateway)
	case rest == "list" && versions != nil:
		_, _ = io.WriteString(rw, strings.Join(versions, "\n"))
	case version != rest && slices.Contains(versions, version):
		_, _ = io.WriteString(rw, "module "+path+"\n\ngo 1.21\n"+w.goMod[path+"@"+version])
	default:
		http.NotFound(rw, req)
	}
}

// service is one of several on a bucket.
type service struct {
	*watch.Watcher
	history *history.History
	fails   map[string]error
	begin   func() // at each build; may be nil
}

type setup struct {
	*testing.T
	world  *world
	server *httptest.Server
	dir    string // of resolvers
	now    time.Time
	runs   []string // builds of all services
}

func newSetup(t *testing.T) *setup {
	w := &world{broken: map[string]bool{}, goMod: map[string]string{}, modules: map[string][]string{
		"go.k6.io/k6":     {"v1.0.0", "v1.1.0"},
		"example.com/one": {"v0.1.0", "v0.2.0"},
		"example.com/two": {"v0.1.0"},
	}}
	dir, err := os.MkdirTemp("", "watch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a list may still be on its way there
		for range 10 {
			if os.RemoveAll(dir) == nil {
				return
			}
		}
	})
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return &setup{T: t, world: w, server: server, dir: dir, now: time.Now()}
}

// service starts a service on a bucket.
func (s *setup) service(b blob.Bucket, change func(*watch.Config)) *service {
	s.Helper()
	log := slog.New(slog.DiscardHandler)
	r, err := resolver.New(s.Context(), resolver.Config{
		Registries: []string{s.server.URL + "/registry.json"}, Dir: filepath.Join(s.dir, rand.Text()), Env: []string{"GOPROXY=" + s.server.URL, "GOSUMDB=off"},
		VersionsMaxAge: time.Nanosecond,
	})
	if err != nil {
		s.Fatal(err)
	}
	clock := func() time.Time { return s.now }
	svc := &service{history: history.New(journal.New(journal.Config{Bucket: b, Prefix: "history/"}), 1000, log), fails: map[string]error{}}
	cfg := watch.Config{
		Seen: journal.New(journal.Config{Bucket: b, Prefix: "watch/"}), History: svc.history, Published: r.Published,
		Platforms: []k6x.Platform{{OS: "linux", Arch: "amd64"}}, Interval: 10 * time.Minute, Clock: clock, Logger: log,
		Build: func(ctx context.Context, p k6x.Platform, list k6x.List) (bool, error) {
			if svc.begin != nil {
				svc.begin()
			}
			if err := ctx.Err(); err != nil {
				return false, err
			}
			resolution, err := r.Resolve(ctx, list)
			if err != nil {
				return false, err
			}
			result := &history.Result{ID: list.String(), Platform: p.String(), Outcome: history.Built}
			for _, m := range resolution.Modules {
				result.Modules = append(result.Modules, history.Module{Name: m.Names[0], Version: m.Version})
			}
			if err := svc.fails[list.String()]; err != nil {
				result.Outcome, result.Kind, result.Error = history.Failed, k6x.KindOf(err).String(), err.Error()
			}
			s.runs = append(s.runs, list.String())
			return true, errors.Join(svc.history.Append(ctx, history.Entry{Type: history.Build, Result: result}), svc.fails[list.String()])
		},
	}
	if change != nil {
		change(&cfg)
	}
	if svc.Watcher, err = watch.New(cfg); err != nil {
		s.Fatal(err)
	}
	return svc
}

// look looks twice: lists that live for no time at all are always on their way, and the first look may get one that was asked for before.
func (s *service) look(ctx context.Context) error { return errors.Join(s.Look(ctx), s.Look(ctx)) }

// round looks and sweeps.
func (s *setup) round(services ...*service) (err error) {
	for _, svc := range services {
		err = errors.Join(err, svc.look(s.Context()))
		svc.Sweep(s.Context())
	}
	s.now = s.now.Add(10 * time.Minute)
	return err
}

// news checks what the history in a bucket has, in short, in any order, but each version before what came of it.
func (s *setup) news(b blob.Bucket, want ...string) {
	s.Helper()
	h := history.New(journal.New(journal.Config{Bucket: b, Prefix: "history/"}), 1000, slog.Default())
	changes, _, err := h.Changes(s.Context(), 0, 1000)
	if err != nil {
		s.Fatal(err)
	}
	var got []string
	for _, n := range changes {
		word := n.Name + "@" + n.Version
		if n.Result != nil {
			last := n.Result.Modules[len(n.Result.Modules)-1]
			word = strings.TrimSpace(fmt.Sprintf("%s@%s %s %s", last.Name, last.Version, n.Result.Outcome, n.Result.Kind))
		}
		got = append(got, word)
	}
	for i, word := range got {
		if version, _, ended := strings.Cut(word, " "); ended && !slices.Contains(got[:i], version) {
			s.Errorf("%s comes before %s", word, version)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Errorf("the news are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (s *setup) publish(path, version, goMod string) {
	s.world.change(func() {
		s.world.modules[path] = append(s.world.modules[path], version)
		s.world.goMod[path+"@"+version] = goMod
	})
}

func TestWhatIsNewIsToldAndBuilt(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	svc := s.service(b, nil)
	for range 2 {
		if err := s.round(svc); err != nil {
			t.Fatal(err)
		}
	}
	s.news(b) // the first look does not build the world
	s.publish("go.k6.io/k6", "v1.2.0", "")
	s.publish("example.com/one", "v0.3.0-rc.1", "")
	s.publish("example.com/one", "v0.3.0", "")
	s.publish("example.com/three", "v0.1.0", "") // registered since: its newest version is new
	s.publish("example.com/three", "v0.2.0", "")
	for range 3 {
		if err := s.round(svc); err != nil {
			t.Fatal(err)
		}
	}
	s.news(b, "k6@v1.2.0", "k6@v1.2.0 built", "k6/x/one@v0.3.0-rc.1", "k6/x/one@v0.3.0-rc.1 built", "k6/x/one@v0.3.0", "k6/x/one@v0.3.0 built",
		"k6/x/three@v0.2.0", "k6/x/three@v0.2.0 built")
}

func TestWhatIsBrokenIsAResultAndStopsNothing(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	svc := s.service(b, nil)
	_ = s.round(svc)
	s.publish("example.com/one", "v0.3.0", "require go.k6.io/k6 v1.9.0\n") // there is no such k6
	s.publish("example.com/two", "v0.2.0", "")
	svc.fails["k6/x/two@v0.2.0"] = k6x.Errorf(k6x.BuildFailed, "it does not compile")
	s.publish("example.com/two", "v0.3.0", "")
	for range 3 {
		if err := s.round(svc); err != nil {
			t.Fatal(err)
		}
	}
	s.news(b, "k6/x/one@v0.3.0", "k6/x/one@v0.3.0 failed conflict", "k6/x/two@v0.2.0", "k6/x/two@v0.2.0 failed build_failed",
		"k6/x/two@v0.3.0", "k6/x/two@v0.3.0 built")
}

func TestRetractedVersionsAreNotBuilt(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	svc := s.service(b, nil)
	_ = s.round(svc)
	s.publish("example.com/one", "v0.3.0", "")
	s.publish("example.com/one", "v0.3.1", "retract [v0.3.0, v0.3.1]\n")
	s.publish("example.com/one", "v0.2.1", "")
	if err := s.round(svc); err != nil {
		t.Fatal(err)
	}
	s.news(b, "k6/x/one@v0.2.1", "k6/x/one@v0.2.1 built")
}

// Versions that were there all the time are not new when others are retracted, however many there are.
func TestRetractionsMakeOldVersionsNotNew(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	for i := range 450 {
		s.publish("example.com/two", fmt.Sprintf("v0.1.%d", i+1), "")
	}
	svc := s.service(b, nil)
	_ = s.round(svc)
	s.publish("example.com/two", "v0.2.0", "retract [v0.1.20, v0.2.0]\n")
	s.publish("example.com/two", "v0.0.1", "")
	if err := s.round(svc); err != nil {
		t.Fatal(err)
	}
	s.news(b, "k6/x/two@v0.0.1", "k6/x/two@v0.0.1 built")
}

func TestARegistryThatIsBrokenForAnHourIsCaughtUp(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	svc := s.service(b, nil)
	_ = s.round(svc)
	s.world.change(func() { s.world.broken["registry"], s.world.broken["example.com/one"] = true, true })
	s.publish("example.com/one", "v0.3.0", "")
	s.publish("example.com/three", "v0.1.0", "")
	s.publish("example.com/two", "v0.2.0", "") // what can be read goes on
	for range 6 {
		_ = s.round(svc)
	}
	s.news(b, "k6/x/two@v0.2.0", "k6/x/two@v0.2.0 built")
	s.world.change(func() { clear(s.world.broken) })
	if err := s.round(svc); err != nil {
		t.Fatal(err)
	}
	s.news(b, "k6/x/two@v0.2.0", "k6/x/two@v0.2.0 built", "k6/x/one@v0.3.0", "k6/x/one@v0.3.0 built", "k6/x/three@v0.1.0", "k6/x/three@v0.1.0 built")
}

func TestTheFirstLookWaitsForTheRegistry(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	s.world.change(func() { s.world.broken["registry"], s.world.broken["example.com/two"] = true, true })
	svc := s.service(b, nil)
	if err := s.round(svc); err == nil {
		t.Error("nothing is known, and there is no error")
	}
	s.world.change(func() { delete(s.world.broken, "registry") })
	if err := s.round(svc); err == nil {
		t.Error("the versions of a module are not known, and there is no error")
	}
	s.world.change(func() { clear(s.world.broken) }) // that it could be read later does not make it new
	s.publish("example.com/one", "v0.3.0", "")
	if err := s.round(svc); err != nil {
		t.Fatal(err)
	}
	s.news(b, "k6/x/one@v0.3.0", "k6/x/one@v0.3.0 built")
}

func TestBackfillAndPatterns(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	s.publish("example.com/one", "v0.3.0-rc.1", "")
	svc := s.service(b, func(cfg *watch.Config) { cfg.Backfill, cfg.Extensions = 1, []string{"k6/x/o*", "example.com/three"} })
	_ = s.round(svc)
	s.publish("example.com/two", "v0.2.0", "")
	s.publish("example.com/three", "v0.1.0", "")
	_ = s.round(svc)
	s.news(b, "k6@v1.1.0", "k6@v1.1.0 built", "k6/x/one@v0.2.0", "k6/x/one@v0.2.0 built", "k6/x/three@v0.1.0", "k6/x/three@v0.1.0 built")
	if _, err := watch.New(watch.Config{Extensions: []string{"k6/x/["}}); err == nil {
		t.Error("a malformed pattern is taken")
	}
}

func TestServicesOnOneBucketDoItOnce(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	services := []*service{s.service(b, nil), s.service(b, nil), s.service(b, nil)}
	_ = s.round(services...)
	s.publish("example.com/one", "v0.3.0", "")
	s.publish("go.k6.io/k6", "v1.2.0", "")
	var looks sync.WaitGroup
	for _, svc := range services {
		looks.Go(func() {
			if err := svc.look(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	looks.Wait()
	for range 2 {
		_ = s.round(services...)
	}
	_ = s.round(s.service(b, nil)) // one that comes later
	slices.Sort(s.runs)
	if want := "[k6/x/one@v0.3.0 k6@v1.2.0]"; fmt.Sprint(s.runs) != want {
		t.Errorf("built %s, want %s", s.runs, want)
	}
}

// killed fails all writes from one on, as at a kill.
type killed struct {
	blob.Bucket
	left int
}

func (k *killed) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	if k.left--; k.left < 0 {
		return blob.Info{}, errors.New("killed")
	}
	return k.Bucket.Put(ctx, name, body, size, o)
}

func TestAKillLeavesNothingMissingOrTwice(t *testing.T) {
	for writes := range 12 {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			t.Parallel()
			s, b := newSetup(t), &mem.Bucket{}
			_ = s.round(s.service(&killed{b, writes}, nil)) // in the first look
			_ = s.round(s.service(b, nil))
			s.news(b)
			s.publish("example.com/one", "v0.3.0", "")
			s.publish("example.com/two", "v0.2.0", "require go.k6.io/k6 v1.9.0\n")
			_ = s.round(s.service(&killed{b, writes}, nil)) // in the second
			_ = s.round(s.service(b, nil))
			want := []string{"k6/x/one@v0.3.0", "k6/x/one@v0.3.0 built", "k6/x/two@v0.2.0", "k6/x/two@v0.2.0 failed conflict"}
			s.news(b, want...)
		})
	}
}

func TestWhatMayDoBetterIsTriedLessAndLess(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	svc := s.service(b, nil)
	_ = s.round(svc)
	svc.fails["k6/x/one@v0.3.0"] = k6x.Errorf(k6x.Timeout, "it takes too long")
	s.publish("example.com/one", "v0.3.0", "")
	hours := func(n int) int {
		for range n {
			_ = s.round(svc)
			s.now = s.now.Add(50 * time.Minute)
		}
		return len(s.runs)
	}
	if n := hours(24); n < 4 || n > 10 {
		t.Errorf("it was tried %d times in a day", n)
	}
	delete(svc.fails, "k6/x/one@v0.3.0")
	if before := hours(24); hours(24) != before {
		t.Error("it is tried after it was built")
	}
}

func TestABuildThatWaitsHoldsUpNoLook(t *testing.T) {
	s, b := newSetup(t), &mem.Bucket{}
	svc := s.service(b, nil)
	_ = s.round(svc)
	s.publish("example.com/one", "v0.3.0", "")
	building, end := make(chan struct{}), make(chan struct{})
	svc.begin = sync.OnceFunc(func() { close(building); <-end })
	if err := svc.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	swept := make(chan struct{})
	go func() { svc.Sweep(t.Context()); close(swept) }()
	<-building
	s.publish("example.com/two", "v0.2.0", "")
	if err := svc.look(t.Context()); err != nil {
		t.Error(err)
	}
	close(end)
	<-swept
	svc.Sweep(t.Context())
	s.news(b, "k6/x/one@v0.3.0", "k6/x/one@v0.3.0 built", "k6/x/two@v0.2.0", "k6/x/two@v0.2.0 built")
}

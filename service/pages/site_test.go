package pages_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/blob/mem"
	"k6x/cache/bucket"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/gotool"
	"k6x/history"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
	"k6x/resolver"
	"k6x/service"
)

const (
	host     = runtime.GOOS + "/" + runtime.GOARCH
	basePath = "/k6x"
)

// entry is an extension of a registry.
type entry map[string]any

// registry has stand-ins as a registry describes extensions.
func registry() []entry {
	describe := func(name, tier, about string, stars int) entry {
		return entry{"module": "example.com/xk6-" + name, "imports": []string{"k6/x/" + name}, "tier": tier, "description": about,
			"repo": entry{"url": "https://example.com/xk6-" + name, "owner": "Example", "license": "MIT", "stars": stars, "timestamp": time.Now().Add(-50 * 24 * time.Hour).Unix()}}
	}
	return []entry{{"module": "go.k6.io/k6", "imports": []string{"k6"}},
		describe("hello", "official", "Says hello.", 30), describe("world", "official", "Greets the whole world.", 200),
		describe("newer", "community", "Needs a newer k6 than others.", 7), describe("broken", "community", "Does not compile.", 1),
		{"module": "example.com/xk6-out", "outputs": []string{"out"}, "tier": "partner", "description": "Writes somewhere else."}}
}

// shared is what all sites of the tests have in common: Go's caches, and the modules.
var shared struct {
	sync.Once
	dir string
	err error
}

// site is a service with stand-ins for all modules, which is real otherwise, below a base path.
type site struct {
	t        *testing.T
	registry []entry
	config   service.Config
	slots    builder.LimitConfig

	engine   builder.Engine
	resolver *resolver.Resolver
	settings k6x.Settings
	entries  mem.Bucket // of the history
	pending  mem.Bucket // attempts of the service
	store    cache.Store
	logs     *cache.Logs

	addr   string
	stop   func()
	busy   func() bool    // a build runs, as far as the history knows
	builds sync.WaitGroup // in the engine

	mu   sync.Mutex               // guards what follows
	gate chan struct{}            // builds go on once it is closed; nil: at once
	sick bool                     // a proxy in front answers that it does not reach the service
	cuts map[*http.Request]func() // end the streams of events that are open
}

// newSite starts one. Configure, which may be nil, changes what it is made of.
func newSite(t *testing.T, configure func(*site)) *site {
	t.Helper()
	s := &site{t: t, registry: registry(), addr: "127.0.0.1:0", cuts: make(map[*http.Request]func()), slots: builder.LimitConfig{Slots: 2, Queue: 40}}
	if configure != nil {
		configure(s)
	}
	shared.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "k6x-pages-"); shared.err == nil {
			shared.err = warmcache.CopyStandard(filepath.Join(shared.dir, "gocache"))
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	text, err := json.Marshal(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "registry.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	modules := testmod.Serve(t, "../../testdata/standin")
	tool, err := gotool.Find(t.Context(), []string{"GOPROXY=" + modules, "GOSUMDB=off"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := native.New(t.Context(), native.Config{Tool: tool, Dir: shared.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	s.resolver, err = resolver.New(t.Context(), resolver.Config{Registries: []string{file}, Toolchain: tool.Version, Dir: t.TempDir(), Go: tool.Path, Env: engine.Env()})
	if err != nil {
		t.Fatal(err)
	}
	if s.logs, err = cache.OpenLogs(t.TempDir(), 10, 1<<20); err != nil {
		t.Fatal(err)
	}
	s.settings = k6x.Settings{Toolchain: tool.Version, Flags: engine.Settings().Flags, Layout: engine.Settings().Layout}
	s.store = bucket.Memory(bucket.Config{})
	s.engine = builder.EngineFunc(func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
		s.builds.Add(1)
		defer s.builds.Done()
		s.mu.Lock()
		gate := s.gate
		s.mu.Unlock()
		if gate != nil {
			report.Send(event.Event{Time: time.Now(), Type: event.Output, Output: "\x1b[32mgreen words\x1b[0m of a <b>tool</b>\n"})
			select {
			case <-gate:
			case <-ctx.Done():
				return k6x.Build{}, ctx.Err()
			}
		}
		return engine.Build(ctx, job, report, w)
	})
	s.start()
	t.Cleanup(func() { // builds write until they end
		s.open()
		for s.busy() {
			time.Sleep(10 * time.Millisecond)
		}
		s.stop()
		s.builds.Wait()
	})
	return s
}

// URL returns that of a path of the site.
func (s *site) URL(path string) string { return "http://" + s.addr + basePath + path }

// start makes a service on what is kept, and serves it at the address it had.
func (s *site) start() {
	s.t.Helper()
	log := slog.New(slog.DiscardHandler)
	h := history.New(journal.New(journal.Config{Bucket: &s.entries, Poll: 10 * time.Millisecond}), 1000, log)
	recorder := history.NewRecorder(h, &s.pending, nil, "this", log)
	stream := new(event.Stream)
	events := event.Tee(stream.Publish, recorder.Publish, service.KeepLogs(s.logs, log))
	slots := s.slots
	slots.Events = events
	limit := builder.NewLimit(builder.Keep(s.engine, s.store, events), slots)
	c := s.config
	c.Resolver, c.Logs, c.Store, c.Settings, c.BasePath = s.resolver, s.logs, s.store, s.settings, basePath
	c.Builder = builder.NewDedup(limit, builder.DedupConfig{Events: events})
	c.Builds.History, c.Builds.Recorder, c.Builds.Events, c.Progress = h, recorder, stream, stream.Running
	c.Version = service.Version{K6x: "v0.0.0", Go: []string{s.settings.Toolchain}, Engines: []string{"native"}, Limits: service.Limits{MaxBuilds: slots.Slots, Queue: slots.Queue, BuildTimeout: 600}}
	handler := service.New(c)
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		sick := s.sick
		s.mu.Unlock()
		if sick {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>")
			return
		}
		if strings.HasSuffix(r.URL.Path, "/events") {
			ctx, cut := context.WithCancel(r.Context())
			defer cut()
			s.mu.Lock()
			s.cuts[r] = cut
			s.mu.Unlock()
			handler.ServeHTTP(w, r.WithContext(ctx))
			s.mu.Lock()
			delete(s.cuts, r)
			s.mu.Unlock()
			if ctx.Err() != nil {
				panic(http.ErrAbortHandler)
			}
			return
		}
		handler.ServeHTTP(w, r)
	})}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { h.Run(ctx) })
	work.Go(func() { recorder.Run(ctx) })
	work.Go(func() { _ = server.Serve(listener) })
	s.busy = func() bool {
		return slices.ContainsFunc(recorder.Running(), func(r *history.Result) bool { return r.Outcome == history.Running })
	}
	s.stop = func() {
		_ = server.Close()
		handler.Drain()
		cancel()
		work.Wait()
	}
}

// hold has builds wait from now on, until open is called.
func (s *site) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

// open lets builds go on.
func (s *site) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil {
		close(s.gate)
		s.gate = nil
	}
}

// cut ends the streams of events that are open, once there is one.
func (s *site) cut() {
	s.t.Helper()
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		open := len(s.cuts)
		for _, cut := range s.cuts {
			cut()
		}
		s.mu.Unlock()
		if open > 0 {
			return
		}
	}
	s.t.Fatal("no stream is open")
}

// proxy has a proxy in front answer that it does not reach the service, or not.
func (s *site) proxy(sick bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sick = sick
}

// post starts the build of a path.
func (s *site) post(path string) {
	s.t.Helper()
	resp, err := http.Post(s.URL("/builds"), "application/json", strings.NewReader(`{"path": "`+path+`"}`))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		body, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s %s", resp.Status, body)
	}
}

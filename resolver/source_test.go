package resolver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
)

// registryServer serves one registry with an ETag, and can be down.
type registryServer struct {
	mu     sync.Mutex // guards what follows
	body   string
	down   bool
	status int
	asked  int
	again  int // answered 304
}

func (s *registryServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *registryServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.down {
		return nil, errors.New("connection refused")
	}
	return inProcess{http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		tag := fmt.Sprintf(`"%d"`, len(s.body))
		w.Header().Set("ETag", tag)
		switch {
		case s.status != 0:
			w.WriteHeader(s.status)
		case req.Header.Get("If-None-Match") == tag:
			s.again++
			w.WriteHeader(http.StatusNotModified)
		default:
			_, _ = io.WriteString(w, s.body)
		}
	})}.RoundTrip(req)
}

const (
	registryA  = `[{"module": "e.com/a", "imports": ["k6/x/a"]}]`
	registryAB = `[{"module": "e.com/a", "imports": ["k6/x/a"]}, {"module": "e.com/b", "imports": ["k6/x/b"]}]`
)

func (r *Resolver) knows(name string) bool {
	e, _ := r.index.Load().lookup(name, 1)
	return e != nil
}

func TestRegistryAtURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &registryServer{body: registryA}
		log, lines := logTo()
		cfg := Config{
			Registries: []string{"https://user:secret@registry.test/r.json?token=secret"}, Dir: t.TempDir(),
			Client: &http.Client{Transport: server}, Refresh: time.Minute, Logger: log,
		}
		r, err := New(t.Context(), cfg)
		if err != nil || !r.knows("k6/x/a") {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		pass := func(d time.Duration) {
			time.Sleep(d) // the bubble's time
			synctest.Wait()
		}
		status := func() SourceStatus { return r.Sources()[0] }

		pass(90 * time.Second)
		if server.asked != 2 || server.again != 1 {
			t.Errorf("asked %d times, of which %d times for changes", server.asked, server.again)
		}
		if s := status(); s.Stale || !s.Loaded || s.Error != "" || time.Since(s.Since) != 30*time.Second {
			t.Errorf("after a revalidation: %+v", s)
		}

		server.set(func() { server.body = registryAB })
		pass(time.Minute)
		if !r.knows("k6/x/b") {
			t.Error("a changed registry is not seen")
		}

		for _, broken := range []string{"<html>", `{"error": "rate limited"}`, "null"} {
			server.set(func() { server.body = broken })
			pass(time.Minute)
			if s := status(); !s.Stale || !r.knows("k6/x/b") {
				t.Errorf("a broken registry takes the good one's place: %+v", s)
			}
		}

		server.set(func() { server.down, server.body = true, registryA })
		pass(time.Hour)
		if s := status(); !s.Stale || !s.Loaded || s.Error != "connection refused" || !r.knows("k6/x/b") {
			t.Errorf("while the server is down: %+v", s)
		}
		if n := lines.count("cannot be read"); n != 1 {
			t.Errorf("logged %d times that it cannot be read", n)
		}
		if text := fmt.Sprint(r.Sources()) + lines.buf.String(); strings.Contains(text, "secret") {
			t.Errorf("secrets are shown: %s", text)
		}

		again, err := New(t.Context(), cfg) // a restart while the server is down
		if err != nil || !again.knows("k6/x/b") {
			t.Errorf("the copy on disk is not used: %v", err)
		}

		server.set(func() { server.down = false })
		pass(time.Minute)
		if s := status(); s.Stale || r.knows("k6/x/b") {
			t.Errorf("after the server is up again: %+v", s)
		}
		if n := lines.count("can be read again"); n != 1 {
			t.Errorf("logged %d times that it can be read again", n)
		}
		cancel()
		running.Wait()
	})
}

// slow never answers.
type slow struct{}

func (slow) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestRegistryThatWasNeverLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			registries []string
			want       string
		}{
			{nil, "not_found: k6/x/mine is not in the registry\n(The registry https://registry.k6.io/registry.json could not be reached, so only what is built in is known.)"},
			{[]string{"https://registry.test/r.json"}, "unavailable: the registry https://registry.test/r.json could not be loaded, so k6 is not known for sure"},
		} {
			log, lines := logTo()
			started := time.Now()
			r, err := New(t.Context(), Config{Registries: test.registries, Dir: t.TempDir(), Client: &http.Client{Transport: slow{}}, Logger: log})
			if err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(started); waited != 5*time.Second {
				t.Errorf("New waits %s", waited)
			}
			if got := answer(t, r, "k6/x/mine"); got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
			last := r.Sources()[len(r.Sources())-1]
			if last.Loaded || !last.Stale || last.Error == "" || lines.count("level=WARN") != 1 {
				t.Errorf("status %+v, log %s", last, lines.buf.String())
			}
			if err := r.Permit(parse(t, "k6@v1.0.0,k6/x/mine@v1.0.0")); err != nil {
				t.Errorf("Permit: %v", err)
			}
		}
	})
}

// A registry that is not there yet may overlay what those below it say.
func TestLayersBelowAMissingOneDoNotAnswer(t *testing.T) {
	server := &registryServer{down: true}
	above := write(t, "above.json", `[{"module": "example.com/xk6-any", "imports": ["k6/x/any"]}]`)
	withK6 := write(t, "with-k6.json", `[{"module": "go.k6.io/k6", "imports": ["k6"]}, {"module": "example.com/xk6-any", "imports": ["k6/x/any"]}]`)
	p := newModuleProxy(world)
	client := &http.Client{Transport: byHost{"registry.test": server, "proxy.test": inProcess{p}}}
	topped := func(by string) *Resolver {
		return resolverOf(t, p, worldRegistry, func(cfg *Config) {
			cfg.Registries = append(cfg.Registries, "https://registry.test/r.json", by)
			cfg.Client, cfg.Filter, cfg.AllowModules = client, "[?module!='example.com/xk6-base']", "example.com"
		})
	}
	if got, want := answer(t, topped(withK6), "k6/x/any"), "k6@v1.8.0,k6/x/any@v1.0.0"; got != want {
		t.Errorf("what lies above: got %s\nwant %s", got, want)
	}
	r := topped(above)
	for list, want := range map[string]string{
		"k6@^1":                           "unavailable: the registry https://registry.test/r.json could not be loaded, so k6 is not known for sure",
		"k6@^1,k6/x/any":                  "unavailable: the registry https://registry.test/r.json could not be loaded, so k6 is not known for sure",
		"k6/x/new":                        "unavailable: the registry https://registry.test/r.json could not be loaded, so k6 is not known for sure",
		"example.com/xk6-new@v0.3.0":      "unavailable: the registry https://registry.test/r.json could not be loaded, so k6 is not known for sure",
		"k6@v1.8.0,k6/x/unheard-of@1.0.0": "unavailable: the registry https://registry.test/r.json could not be loaded, so k6 is not known for sure",
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s: got %s\nwant %s", list, got, want)
		}
		if err := r.Permit(parse(t, list)); err != nil {
			t.Errorf("Permit(%s): %v", list, err)
		}
	}
}

// byHost sends requests where their host is.
type byHost map[string]http.RoundTripper

func (h byHost) RoundTrip(req *http.Request) (*http.Response, error) {
	return h[req.URL.Host].RoundTrip(req)
}

func TestRegistryIsLoadedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &registryServer{body: registryA, down: true}
		r, err := New(t.Context(), Config{Registries: []string{"https://registry.test/r.json"}, Dir: t.TempDir(), Client: &http.Client{Transport: server}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		server.set(func() { server.down = false })
		time.Sleep(31 * time.Second) // the bubble's time
		synctest.Wait()
		if !r.knows("k6/x/a") {
			t.Error("not loaded once the server is up")
		}
	})
}

func TestRegistryThatTheFilterFailsOnIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &registryServer{body: `[{"module": "e.com/a", "imports": ["k6/x/a"], "word": "x"}]`}
		cfg := Config{
			Registries: []string{"https://registry.test/r.json"}, Dir: t.TempDir(), Refresh: time.Minute,
			Filter: "[?word && length(word) > `0`]", Client: &http.Client{Transport: server},
		}
		r, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		server.set(func() { server.body = `[{"module": "e.com/b", "imports": ["k6/x/b"], "word": 7}]` })
		time.Sleep(61 * time.Second) // the bubble's time
		synctest.Wait()
		if s := r.Sources()[0]; !s.Stale || !strings.Contains(s.Error, "filter") || !r.knows("k6/x/a") || r.knows("k6/x/b") {
			t.Errorf("%+v", s)
		}
		again, err := New(t.Context(), cfg)
		if err != nil || !again.knows("k6/x/a") {
			t.Errorf("after a restart: %v", err)
		}
	})
}

func TestCopyFromTheFutureIsLookedAfter(t *testing.T) {
	s := &source{interval: time.Minute, state: state{since: time.Now().Add(1000 * time.Hour)}}
	if wait := s.firstWait(); wait != time.Minute {
		t.Errorf("waits %s", wait)
	}
}

func TestBrokenCopyOnDiskCountsAsNone(t *testing.T) {
	server := &registryServer{body: registryA}
	cfg := Config{Registries: []string{"https://registry.test/r.json"}, Dir: t.TempDir(), Client: &http.Client{Transport: server}}
	if _, err := New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	copies, _ := filepath.Glob(filepath.Join(cfg.Dir, "registry", "*"))
	if len(copies) != 1 {
		t.Fatalf("files: %v", copies)
	}
	for _, data := range []string{"", "{", `{"body": "text"}`, "null"} {
		if err := os.WriteFile(copies[0], []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := New(t.Context(), cfg); err != nil || !r.knows("k6/x/a") {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestRegistryAnswersThatAreErrors(t *testing.T) {
	for name, server := range map[string]*registryServer{
		"404":                 {status: 404},
		"304 without a copy":  {status: 304},
		"larger than allowed": {body: `["` + strings.Repeat("x", maxRegistry) + `"]`},
	} {
		r, err := New(t.Context(), Config{Registries: []string{"https://registry.test/r.json"}, Dir: t.TempDir(), Client: &http.Client{Transport: server}})
		if err != nil || r.Sources()[0].Loaded || r.Sources()[0].Error == "" {
			t.Errorf("%s: %v, %+v", name, err, r.Sources())
		}
	}
}

func TestRegistryFileIsReadAgainWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := write(t, "r.json", registryA)
		log, lines := logTo()
		r, err := New(t.Context(), Config{Registries: []string{file}, Dir: t.TempDir(), Filter: "[?length(module) > `1`]", Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		put := func(data string) {
			if data != "" {
				if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(11 * time.Second) // the bubble's time
			synctest.Wait()
		}
		put(registryAB)
		if !r.knows("k6/x/b") {
			t.Error("the change is not seen")
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(registryA), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		put("")
		if r.knows("k6/x/b") {
			t.Error("a change within the resolution of the file's time is not seen")
		}
		put("broken")
		if !r.knows("k6/x/a") || !r.Sources()[0].Stale || lines.count("cannot be read") != 1 {
			t.Errorf("after a broken change: %+v", r.Sources())
		}
		put(registryAB)
		if !r.knows("k6/x/b") || r.Sources()[0].Stale {
			t.Errorf("after it was mended: %+v", r.Sources())
		}
	})
}

func TestLocationThatIsNoURL(t *testing.T) {
	for _, location := range []string{"http://", "https://%zz:secret@e.com/", t.TempDir()} {
		_, err := New(t.Context(), Config{Registries: []string{location}, Dir: t.TempDir()})
		if k6x.KindOf(err) != k6x.Invalid || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", location, err)
		}
	}
}

func TestUnfinishedFilesAreSweptOnceTheyAreOld(t *testing.T) {
	dir := t.TempDir()
	temp := temporary(dir)
	if err := keep(temp, filepath.Join(dir, "sub", "name"), []byte("data")); err != nil {
		t.Fatal(err)
	}
	old, recent := filepath.Join(temp, "old"), filepath.Join(temp, "recent")
	for _, name := range []string{old, recent} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * time.Hour)
	oldDir := filepath.Join(temp, "go-1")
	if err := os.MkdirAll(filepath.Join(oldDir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{old, oldDir} {
		if err := os.Chtimes(name, long, long); err != nil {
			t.Fatal(err)
		}
	}
	temporary(dir)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old one is left: %v", err)
	}
	if left, _ := os.ReadDir(temp); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// A program that never runs the resolver sees what changed since it last ran.
func TestRefreshLooksAfterOldCopiesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &registryServer{body: registryA}
		cfg := Config{
			Registries: []string{"https://registry.test/r.json"}, Dir: t.TempDir(),
			Client: &http.Client{Transport: server}, Refresh: time.Minute,
		}
		open := func() *Resolver {
			r, err := New(t.Context(), cfg)
			if err != nil || !r.knows("k6/x/a") {
				t.Fatal(err)
			}
			return r
		}
		refresh := func(r *Resolver, asked int) {
			t.Helper()
			before := server.asked
			if err := r.Refresh(t.Context()); err != nil || server.asked != before+asked {
				t.Errorf("asked %d times, want %d: %v", server.asked-before, asked, err)
			}
		}
		refresh(open(), 0)
		time.Sleep(2 * time.Minute) // the bubble's time
		server.set(func() { server.body = registryAB })
		r := open()
		if refresh(r, 1); !r.knows("k6/x/b") {
			t.Error("a changed registry is not seen")
		}
		refresh(r, 0)
		time.Sleep(2 * time.Minute)
		server.set(func() { server.down = true })
		r = open()
		if refresh(r, 1); !r.knows("k6/x/b") || !r.Sources()[0].Stale {
			t.Errorf("while the server is down: %+v", r.Sources())
		}
	})
}

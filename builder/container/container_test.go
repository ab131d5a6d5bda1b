package container

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/builder/native"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/podmantest"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

var podman podmantest.Service

func TestMain(m *testing.M) {
	code := m.Run()
	if err := podman.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// newEngine returns an engine on a real Podman, over the stand-in modules. Fields of cfg that
// are not set are chosen.
func newEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	if cfg.Host == "" {
		cfg.Host = podman.Host(t)
	}
	if cfg.Image == "" {
		cfg.Image = podmantest.Image
	}
	if cfg.Env == nil {
		cfg.Env = []string{"GOPROXY=" + testmod.Serve(t, "../../testdata/standin"), "GOSUMDB=off"}
	}
	cfg.Network = "host"
	cfg.Dir = t.TempDir()
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := podman.Podman(t, "ps", "--all", "--quiet", "--filter", "label="+label); left != "" {
			t.Errorf("containers are left: %s", left)
		}
		if left, err := os.ReadDir(cfg.Dir); err != nil || len(left) > 0 {
			t.Errorf("files are left: %v, %v", left, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *Engine) recipe(t *testing.T, k6 string, extensions ...string) k6x.Recipe {
	t.Helper()
	settings, err := e.Settings(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	modules := []k6x.Module{{Path: "go.k6.io/k6", Version: k6, Names: []string{"k6"}}}
	for _, item := range extensions {
		name, version, _ := strings.Cut(item, "@")
		modules = append(modules, k6x.Module{Path: "example.com/xk6-" + name, Version: version, Names: []string{"k6/x/" + name}})
	}
	return k6x.NewRecipe(k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, modules, false, settings)
}

func mustBuild(t *testing.T, e builder.Engine, recipe k6x.Recipe, lock *k6x.Lock) ([]byte, k6x.Build) {
	t.Helper()
	var buf bytes.Buffer
	report, err := e.Build(t.Context(), builder.Job{Recipe: recipe, Lock: lock}, nil, &buf)
	if err != nil {
		t.Fatalf("%v\n%s\n%v", err, k6x.AsError(err).Output, k6x.AsError(err).Err)
	}
	return buf.Bytes(), report
}

// newNative returns the engine that is to be matched, over the same modules.
func newNative(t *testing.T, e *Engine) *native.Engine {
	t.Helper()
	tool, err := gotool.Find(t.Context(), append([]string{"GOPRIVATE=", "GONOPROXY=", "GONOSUMDB="}, e.cfg.Env...), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Cleanup(func() { // what is in a module cache is read-only
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	if err := warmcache.CopyStandard(filepath.Join(dir, "gocache")); err != nil {
		t.Fatal(err)
	}
	n, err := native.New(t.Context(), native.Config{Tool: tool, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// One test, as the native engine compiles the standard library once.
func TestContainerAndNativeEngineAgree(t *testing.T) {
	e := newEngine(t, Config{})
	n := newNative(t, e)
	recipe := e.recipe(t, "v1.0.0", "world@v0.1.0", "hello@v0.1.0", "many@v0.1.0")
	if want := k6x.NewRecipe(recipe.Platform, gobuild.Modules(recipe), false, n.Settings()); recipe.Key() != want.Key() {
		t.Fatalf("the key is of %+v, want %+v", recipe.Settings, want.Settings)
	}
	binary, report := mustBuild(t, e, recipe, nil)

	t.Run("bytes", func(t *testing.T) {
		want, wantReport := mustBuild(t, n, recipe, nil)
		if !bytes.Equal(binary, want) {
			t.Error("the bytes differ")
		}
		ignore := cmpopts.IgnoreFields(k6x.Build{}, "Started", "Duration")
		if diff := cmp.Diff(wantReport, report, ignore); diff != "" {
			t.Errorf("the reports differ (-native +container):\n%s", diff)
		}
		if report.Started.IsZero() || report.Duration <= 0 {
			t.Errorf("started %v, took %v", report.Started, report.Duration)
		}
	})
	t.Run("bytes of a rebuild with the lock", func(t *testing.T) {
		again, _ := mustBuild(t, e, recipe, &report.Lock)
		if !bytes.Equal(binary, again) {
			t.Error("the bytes differ")
		}
	})
	for name, items := range map[string][]string{
		"an extension does not compile":              {"hello@v0.1.0", "broken@v0.1.0"},
		"a dependency does not compile":              {"baddep@v0.1.0"},
		"an extension has an untidy go.mod":          {"hello@v0.1.0", "untidy@v0.1.0"},
		"a dependency has an untidy go.mod":          {"via@v0.1.0"},
		"an extension imports what k6 does not have": {"missing@v0.1.0"},
		"an extension needs a newer k6":              {"hello@v0.1.0", "newer@v0.2.0"},
		"a dependency needs a newer k6":              {"vianewer@v0.1.0"},
		"an extension for another major version":     {"two@v0.1.0"},
		"an extension has no package at its root":    {"noroot@v0.1.0"},
		"an extension is a program":                  {"program@v0.1.0"},
		"an extension needs cgo":                     {"cgo@v0.1.0"},
		"an extension needs a newer Go":              {"future@v0.1.0"},
		"there is no such version":                   {"hello@v0.9.9"},
		"a module has another name":                  {"renamed@v0.1.0"},
		"a dependency is not to be found":            {"lost@v0.1.0"},
		"a version that cannot be one":               {"hello@latest"},
	} {
		t.Run(name, func(t *testing.T) {
			recipe := e.recipe(t, "v1.0.0", items...)
			sink := func(p event.Event) {
				if p.Step == event.Checking && strings.Contains(name, "does not compile") {
					t.Error("a binary that was not made is checked")
				}
			}
			_, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, sink, io.Discard)
			_, wantErr := n.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard)
			if err == nil || wantErr == nil {
				t.Fatalf("got %v, native says %v", err, wantErr)
			}
			got, want := k6x.AsError(err), k6x.AsError(wantErr)
			got.Message = strings.Replace(got.Message, "it may need cgo, or does not support the platform", "it needs cgo", 1) // no sources are here to be read
			if got.Kind != want.Kind || got.Message != want.Message || got.Hint != want.Hint {
				t.Errorf("got  %v: %s (%s)\nwant %v: %s (%s)", got.Kind, got.Message, got.Hint, want.Kind, want.Message, want.Hint)
			}
			if got.Output != want.Output {
				t.Errorf("output\n%s\nwant\n%s", got.Output, want.Output)
			}
			if text := got.Message + got.Hint + got.Output; strings.Contains(text, "/cache") || strings.Contains(text, "/k6x/") {
				t.Errorf("it tells of the inside of the container:\n%s", text)
			}
		})
	}
}

func TestBuildForAnotherPlatformTellsHowFarItIs(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe(t, "v1.0.0", "out@v0.1.0") // which is in no other test
	recipe.Platform = k6x.Platform{OS: "windows", Arch: "arm64"}
	seen := make(map[event.Step][]string)
	sink := func(p event.Event) { seen[p.Step] = append(seen[p.Step], p.Item) }
	var buf bytes.Buffer
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, sink, &buf); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(buf.Bytes(), []byte("MZ")) {
		t.Error("it is no program for Windows")
	}
	packages := slices.Sorted(slices.Values(seen[event.Compiling]))
	if all := len(packages); len(slices.Compact(packages)) != all {
		t.Errorf("a package was told twice: %q", seen[event.Compiling])
	}
	for step, want := range map[event.Step]string{
		event.Fetching: "example.com/xk6-out v0.1.0", event.Compiling: "example.com/xk6-out", event.Linking: "",
	} {
		if !slices.Contains(seen[step], want) {
			t.Errorf("while %v there was nothing of %q: %q", step, want, seen[step])
		}
	}
}

func TestTwoBuildsAtOnceShareTheVolume(t *testing.T) {
	e := newEngine(t, Config{})
	var recipes []k6x.Recipe
	for _, item := range []string{"hello@v0.1.0", "world@v0.1.0"} {
		recipes = append(recipes, e.recipe(t, "v1.0.0", item))
	}
	var group sync.WaitGroup
	for _, recipe := range recipes {
		group.Go(func() {
			if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// hangingProxy is a module proxy that does not answer; asked is closed when it is asked.
func hangingProxy(t *testing.T) (env []string, asked <-chan struct{}) {
	seen := make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(seen) })
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return []string{"GOPROXY=" + server.URL, "GOSUMDB=off"}, seen
}

func TestCancelEndsAndRemovesTheContainer(t *testing.T) {
	env, asked := hangingProxy(t)
	e := newEngine(t, Config{Env: env, Volume: "k6x-cancel"})
	recipe := e.recipe(t, "v1.0.0")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := e.Build(ctx, builder.Job{Recipe: recipe}, nil, io.Discard); k6x.KindOf(err) != k6x.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestTimeoutEndsAndRemovesTheContainer(t *testing.T) {
	env, _ := hangingProxy(t)
	e := newEngine(t, Config{Env: env, Volume: "k6x-timeout"})
	recipe := e.recipe(t, "v1.0.0")
	e.cfg.Timeout = 5 * time.Second
	_, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard)
	if k6x.KindOf(err) != k6x.Timeout || !strings.Contains(err.Error(), "5s") {
		t.Errorf("got %v", err)
	}
}

func TestContainerEndsByItselfWhenNobodyIsThereToEndIt(t *testing.T) {
	e := newEngine(t, Config{})
	image, err := e.image(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := e.run(t.Context(), job{
		image: image, command: limited(-29*time.Second, "sh", "-c", "while :; do :; done"),
	})
	if err != nil || result.exit != killedExit {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestSweepRemovesWhatIsLeftOfTheDead(t *testing.T) {
	e := newEngine(t, Config{})
	image, err := e.image(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.create(t.Context(), job{image: image, command: limited(time.Minute, "go", "version"), limit: time.Hour}, true)
	if err != nil {
		t.Fatal(err)
	}
	there := func() bool {
		return strings.Contains(podman.Podman(t, "ps", "--all", "--quiet", "--no-trunc"), id)
	}
	e.sweep(t.Context(), time.Now())
	if !there() {
		t.Fatal("the container of a build that may be running is gone")
	}
	e.sweep(t.Context(), time.Now().Add(2*time.Hour))
	if there() {
		t.Error("the container is still there")
	}
}

func TestLimitsAreDoneWithoutWhereTheDaemonRefusesThem(t *testing.T) {
	socket := strings.TrimPrefix(podman.Host(t), "unix://")
	var refused, taken atomic.Int32
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "podman" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/create") {
			body, _ := io.ReadAll(r.Body)
			if bytes.Contains(body, []byte(`"PidsLimit":16384`)) {
				refused.Add(1)
				http.Error(w, `{"message":"cgroups: the controller is not there"}`, http.StatusInternalServerError)
				return
			}
			taken.Add(1)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	e := newEngine(t, Config{Host: "tcp://" + server.Listener.Addr().String()})
	for range 2 {
		if _, err := e.Settings(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		clear(e.images)
	}
	if refused.Load() != 1 || taken.Load() != 2 {
		t.Errorf("%d containers were refused, %d made", refused.Load(), taken.Load())
	}
}

package xk6

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/workdir"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/testmod"
)

// cacheDir is shared by the tests.
var cacheDir string

// newEngine returns an engine over an xk6 of some sort, and the stand-in modules.
func newEngine(t *testing.T, mode string, cfg Config) *Engine {
	t.Helper()
	tool, err := gotool.Find(t.Context(), []string{
		"GOPROXY=" + testmod.Serve(t, "../../testdata/standin"), "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB=", standin + "=" + mode,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Program, cfg.Tool, cfg.Dir = self, tool, cacheDir
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if entries, err := os.ReadDir(e.Work.Path); err != nil || len(entries) != 1 || entries[0].Name() != workdir.LockName {
			t.Errorf("left in the work directory: %v, %v", entries, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *Engine) recipe(k6 string, extensions ...string) k6x.Recipe {
	path := "go.k6.io/k6"
	if strings.HasPrefix(k6, "v2") {
		path += "/v2"
	}
	modules := []k6x.Module{{Path: path, Version: k6, Names: []string{"k6"}}}
	for _, item := range extensions {
		name, version, _ := strings.Cut(item, "@")
		modules = append(modules, k6x.Module{Path: "example.com/xk6-" + name, Version: version, Names: []string{"k6/x/" + name}})
	}
	return k6x.NewRecipe(k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, modules, false, e.Settings())
}

func TestBuildHasXK6MakeTheBinary(t *testing.T) {
	for _, mode := range []string{"new", "old"} {
		t.Run(mode, func(t *testing.T) {
			e := newEngine(t, mode, Config{})
			recipe := e.recipe("v1.0.0", "hello@v0.1.0", "world@v0.1.0")
			var buf bytes.Buffer
			report, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &buf)
			if err != nil {
				t.Fatalf("%v\n%s", err, k6x.AsError(err).Output)
			}
			file := filepath.Join(t.TempDir(), "k6.exe")
			if err := os.WriteFile(file, buf.Bytes(), 0o755); err != nil {
				t.Fatal(err)
			}
			says, err := exec.CommandContext(t.Context(), file, "version").CombinedOutput()
			if err != nil || !strings.Contains(string(says), "k6/x/hello") || !strings.Contains(string(says), "k6/x/world") {
				t.Errorf("it says %s, %v", says, err)
			}
			if report.Toolchain != recipe.Toolchain || report.Duration <= 0 || report.Started.IsZero() || len(report.BuildList) != 4 ||
				report.Lock != (k6x.Lock{}) {
				t.Errorf("report %+v", report)
			}
			if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe, Lock: &report.Lock}, nil, io.Discard); err != nil {
				t.Errorf("with the lock that it reported: %v", err)
			}
		})
	}
}

func TestBuildForAnotherPlatformAndMajorVersion(t *testing.T) {
	e := newEngine(t, "new", Config{})
	recipe := e.recipe("v2.0.0", "two@v0.1.0")
	recipe.Platform = k6x.Platform{OS: "windows", Arch: "amd64"}
	var buf bytes.Buffer
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &buf); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(buf.Bytes(), []byte("MZ")) {
		t.Errorf("it starts with %q", buf.Bytes()[:2])
	}
}

func TestBinaryThatWasNotAskedForIsRefused(t *testing.T) {
	for mode, kind := range map[string]k6x.Kind{
		"other version": k6x.Conflict, "other platform": k6x.Internal, "no extension": k6x.Internal, "garbage": k6x.Internal, "nothing": k6x.Internal,
	} {
		t.Run(mode, func(t *testing.T) {
			e := newEngine(t, mode, Config{})
			var buf bytes.Buffer
			_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "hello@v0.1.0")}, nil, &buf)
			if err == nil || k6x.KindOf(err) != kind || buf.Len() > 0 {
				t.Errorf("got %v, %d bytes", err, buf.Len())
			}
		})
	}
}

func TestFailuresShowTheWordsOfTheGoCommand(t *testing.T) {
	for _, mode := range []string{"new", "old"} {
		for name, c := range map[string]struct {
			k6, extension string
			kind          k6x.Kind
			says          string
		}{
			"it does not compile":  {"v1.0.0", "broken@v0.1.0", k6x.BuildFailed, "example.com/xk6-broken@v0.1.0/broken.go:5:9: undefined: fortyTwo"},
			"it is not there":      {"v1.99.0", "hello@v0.1.0", k6x.NotFound, "go.k6.io/k6@v1.99.0"},
			"another is needed":    {"v1.0.0", "newer@v0.2.0", k6x.Conflict, "k6 v1.1.0, but v1.0.0 was asked for"},
			"it is for another k6": {"v1.0.0", "two@v0.1.0", k6x.Conflict, "go.k6.io/k6/v2"},
		} {
			t.Run(mode+": "+name, func(t *testing.T) {
				e := newEngine(t, mode, Config{})
				_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe(c.k6, c.extension)}, nil, io.Discard)
				failure := k6x.AsError(err)
				if err == nil || failure.Kind != c.kind || !strings.Contains(failure.Message, c.says) {
					t.Errorf("%v: %v\nwant %v: %s", failure.Kind, err, c.kind, c.says)
				}
				if text := failure.Message + failure.Output; strings.Contains(text, cacheDir) || failure.Kind == k6x.BuildFailed && !strings.Contains(text, "INF Building") {
					t.Errorf("it says\n%s", text)
				}
			})
		}
	}
}

func TestBuildIsWatched(t *testing.T) {
	e := newEngine(t, "old", Config{})
	e.Dirs.ModCache = t.TempDir()
	t.Cleanup(func() { _ = workdir.RemoveAll(e.Dirs.ModCache) })
	var seen []string
	sink := func(e event.Event) { seen = append(seen, e.Step.String()+" "+e.Item) }
	if _, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "hello@v0.1.0")}, sink, io.Discard); err != nil {
		t.Fatal(err)
	}
	if seen[0] != "preparing " || !slices.Contains(seen, "fetching go.k6.io/k6 v1.0.0") {
		t.Errorf("%q", seen)
	}
}

func TestFloodIsBounded(t *testing.T) {
	e := newEngine(t, "flood", Config{})
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "hello@v0.1.0")}, nil, io.Discard)
	failure := k6x.AsError(err)
	if n := len(failure.Output); failure.Kind != k6x.BuildFailed || n == 0 || n > maxOutput+100 || !strings.Contains(failure.Message, "the flood is over") {
		t.Errorf("%d bytes: %.500s", n, failure.Message)
	}
}

func TestRecipesOfOtherEnginesAreRefused(t *testing.T) {
	e := newEngine(t, "new", Config{})
	for name, change := range map[string]func(*k6x.Recipe){
		"flags":       func(r *k6x.Recipe) { r.Flags = []string{"-trimpath"} },
		"toolchain":   func(r *k6x.Recipe) { r.Toolchain = "go1.21.0" },
		"environment": func(r *k6x.Recipe) { r.Env = []string{"GOPROXY=https://evil.example"} },
		"option":      func(r *k6x.Recipe) { r.K6.Version = "--help" },
		"module":      func(r *k6x.Recipe) { r.Extensions[0].Path = "example.com/x=../evil" },
	} {
		recipe := e.recipe("v1.0.0", "hello@v0.1.0")
		change(&recipe)
		if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	recipe := e.recipe("v1.0.0")
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe, Lock: &k6x.Lock{GoMod: "module k6"}}, nil, io.Discard); k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("a lock: %v", err)
	}
	recipe.Cgo = true
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard); k6x.KindOf(err) != k6x.Forbidden {
		t.Errorf("cgo: %v", err)
	}
}

func TestWithoutXK6(t *testing.T) {
	_, err := New(t.Context(), Config{Program: "no-such-xk6", Dir: t.TempDir()})
	if k6x.KindOf(err) != k6x.Unavailable || k6x.AsError(err).Hint == "" {
		t.Errorf("got %v", err)
	}
}

func TestTimeoutAndCancelEndXK6AndItsChildren(t *testing.T) {
	e := newEngine(t, "hang", Config{Timeout: 200 * time.Millisecond})
	if _, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard); k6x.KindOf(err) != k6x.Timeout {
		t.Errorf("got %v, want a timeout", err)
	}
	e = newEngine(t, "hang", Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := e.Build(ctx, builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard); k6x.KindOf(err) != k6x.Timeout {
		t.Errorf("got %v, want a timeout of the caller's", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	sink := func(p event.Event) {
		if p.Step == event.Fetching { // its child is up and says so
			stop()
		}
	}
	if _, err := e.Build(ctx, builder.Job{Recipe: e.recipe("v1.0.0")}, sink, io.Discard); k6x.KindOf(err) != k6x.Canceled {
		t.Errorf("got %v, want that it was canceled", err)
	}
}

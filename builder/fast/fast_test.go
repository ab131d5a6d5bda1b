package fast

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"k6x"
	"k6x/buildcache"
	"k6x/builder"
	"k6x/builder/internal/workdir"
	"k6x/builder/native"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/disk"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// sharedDir has Go's caches for all tests that do not need any of their own.
var sharedDir string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "gocacheprog" { // of the go commands that tests run
		if err := buildcache.Relay(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "fast")
	if err == nil {
		sharedDir = dir
		err = warmcache.CopyStandard(filepath.Join(dir, "gocache"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = workdir.RemoveAll(dir)
	os.Exit(code)
}

// engine is one over stand-in modules, and what it logs.
type engine struct {
	*Engine
	log *log
}

// log is read while what is done in the background writes to it.
type log struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// newEngine returns an engine over the modules that a proxy serves, with Go's caches in dir.
func newEngine(t *testing.T, proxy, dir string, lifetime builder.Lifetime) engine {
	t.Helper()
	log := new(log)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return engine{New(newNative(t, proxy, dir, logger), Config{Lifetime: lifetime, Logger: logger}), log}
}

// newNative returns an engine that runs go build always.
func newNative(t *testing.T, proxy, dir string, logger *slog.Logger) *native.Engine {
	t.Helper()
	return newSharing(t, proxy, dir, logger, nil)
}

// newSharing is newNative of an engine that shares its build cache, unless that is nil.
func newSharing(t *testing.T, proxy, dir string, logger *slog.Logger, shared native.BuildCache) *native.Engine {
	t.Helper()
	tool, err := gotool.Find(t.Context(), []string{"GOPROXY=" + proxy, "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB="}, nil)
	if err != nil {
		t.Fatal(err)
	}
	confined, err := cage.New(cage.Config{Mode: cage.Auto})
	if err != nil {
		t.Fatal(err)
	}
	e, err := native.New(t.Context(), native.Config{Tool: tool, Dir: dir, Cage: confined, BuildCache: shared, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Settle(t.Context())
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(filepath.Join(dir, "work"))
		if err != nil {
			t.Error(err)
		}
		for _, entry := range left {
			if _, err := os.Stat(filepath.Join(dir, "work", entry.Name(), workdir.LockName)); err != nil {
				t.Errorf("left in the work directory: %s", entry.Name())
			}
		}
	})
	return e
}

// standin serves the stand-in modules of all tests.
func standin(t *testing.T) (url string) { return testmod.Serve(t, "../../testdata/standin") }

// emptyDir is t.TempDir for what may come to hold a module cache.
func emptyDir(t *testing.T) string {
	dir := t.TempDir()
	t.Cleanup(func() { _ = workdir.RemoveAll(dir) })
	return dir
}

// warmDir is emptyDir with the build cache of all tests, where links can be made: the standard library is compiled.
func warmDir(t *testing.T) string {
	t.Helper()
	dir := emptyDir(t)
	share(t, dir)
	return dir
}

// share gives dir the build cache of all tests.
func share(t *testing.T, dir string) {
	t.Helper()
	if err := warmcache.Share(filepath.Join(dir, "gocache"), filepath.Join(sharedDir, "gocache")); err != nil {
		t.Fatal(err)
	}
}

// recipeOf returns the recipe of a k6, "v1.0.0", and extensions, "hello@v0.1.0", for this machine.
func recipeOf(settings k6x.Settings, k6 string, extensions ...string) k6x.Recipe {
	modules := []k6x.Module{{Path: "go.k6.io/k6", Version: k6, Names: []string{"k6"}}}
	for _, item := range extensions {
		name, version, _ := strings.Cut(item, "@")
		modules = append(modules, k6x.Module{Path: "example.com/xk6-" + name, Version: version, Names: []string{"k6/x/" + name}})
	}
	return k6x.NewRecipe(k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, modules, false, settings)
}

func (e engine) recipe(k6 string, extensions ...string) k6x.Recipe {
	return recipeOf(e.native.Settings(), k6, extensions...)
}

// makeBinary builds what can be built, and waits until the engine has learned from it.
func makeBinary(t *testing.T, e builder.Engine, recipe k6x.Recipe, lock *k6x.Lock) ([]byte, k6x.Build) {
	t.Helper()
	var buf bytes.Buffer
	report, err := e.Build(t.Context(), builder.Job{Recipe: recipe, Lock: lock}, nil, &buf)
	if e, ok := e.(engine); ok {
		e.native.Settle(t.Context())
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, k6x.AsError(err).Output)
	}
	return buf.Bytes(), report
}

// taker is a writer that takes a binary as a file.
type taker struct {
	io.Writer
	to string
}

func (t taker) Adopt(name, digest string) error {
	info, err := os.Lstat(name)
	if err != nil || !disk.IsOnly(info) {
		return fmt.Errorf("a store could not take it: %w", err)
	}
	if has, _, err := disk.DigestFile(context.Background(), name); has != digest {
		return fmt.Errorf("it has the digest %s, not %s, %w", has, digest, err)
	}
	return os.Rename(name, t.to)
}

// A binary that a store has taken is compared as any other.
func TestBinaryThatIsTakenIsCompared(t *testing.T) {
	e := newEngine(t, standin(t), warmDir(t), builder.Resident)
	to := filepath.Join(t.TempDir(), "binary")
	for i, extension := range []string{"hello@v0.1.0", "world@v0.1.0"} {
		if _, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", extension)}, nil, taker{io.Discard, to}); err != nil {
			t.Fatal(err)
		}
		e.native.Settle(t.Context())
		if left := strings.Count(e.log.String(), "left to go build"); left != 1 || strings.Contains(e.log.String(), "level=WARN") || e.wrong.Load() != 0 {
			t.Errorf("build %d: %s", i, e.log)
		}
	}
	x := e.indexes.of(e.recipe("v1.0.0"))
	if !x.Proven || x.Sums["example.com/xk6-world@v0.1.0"] == "" {
		t.Error("it was not compared")
	}
	wrong := e.recipe("v1.0.0", "hello@v0.1.0", "world@v0.1.0")
	if same, err := (&build{recipe: wrong, digest: "other"}).is(t.Context(), to); same || err != nil {
		t.Errorf("another binary is the same: %v, %v", same, err)
	}
}

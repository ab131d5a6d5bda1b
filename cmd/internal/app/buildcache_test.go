package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/buildcache"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/gotool"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// The program of the tests is the GOCACHEPROG of the go commands that they run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "gocacheprog" {
		if err := buildcache.Relay(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// machine is one that builds the stand-in k6, with a shared build cache.
type machine struct {
	builds *BuildCache
	engine *native.Engine
}

func newMachine(t *testing.T, dir, url string, readOnly bool) *machine {
	t.Helper()
	// They need little of the standard library, which is compiled, too.
	modules := map[string]string{"go.k6.io/k6@v1.0.0": testmod.Bare, "example.com/xk6-hello@v0.1.0": "-- x.go --\npackage x\n"}
	tool, err := gotool.Find(t.Context(), []string{"GOPROXY=" + testmod.ServeFiles(t, modules), "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB="}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := new(machine)
	if m.builds, err = OpenBuildCache(t.Context(), BuildCacheConfig{URL: url, ReadOnly: readOnly, CacheDir: dir}); err != nil {
		t.Fatal(err)
	}
	if m.engine, err = native.New(t.Context(), native.Config{Tool: tool, Dir: GoDir(dir), BuildCache: m.builds}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close(t) })
	return m
}

func (m *machine) close(t *testing.T) {
	t.Helper()
	if m.engine == nil {
		return
	}
	m.engine.Settle(context.Background())
	if err := m.engine.Close(); err != nil {
		t.Error(err)
	}
	if err := m.builds.Close(time.Minute); err != nil {
		t.Error(err)
	}
	m.engine = nil
}

func (m *machine) recipe() k6x.Recipe {
	return k6x.NewRecipe(k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, []k6x.Module{
		{Path: "go.k6.io/k6", Version: "v1.0.0", Names: []string{"k6"}},
		{Path: "example.com/xk6-hello", Version: "v0.1.0", Names: []string{"k6/x/hello"}},
	}, false, m.engine.Settings())
}

func (m *machine) build(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := m.engine.Build(t.Context(), builder.Job{Recipe: m.recipe()}, nil, &out); err != nil {
		t.Fatalf("%v\n%s", err, k6x.AsError(err).Output)
	}
	return out.Bytes()
}

// emptyDir is t.TempDir for what may come to hold a module cache.
func emptyDir(t *testing.T) string {
	dir := t.TempDir()
	t.Cleanup(func() { _ = cache.RemoveAll(dir) })
	return dir
}

// warmDir is emptyDir with the standard library compiled.
func warmDir(t *testing.T) string {
	t.Helper()
	dir := emptyDir(t)
	if err := warmcache.CopyStandard(GoCache(dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestASecondMachineCompilesNothing(t *testing.T) {
	if os.Getenv("K6X_TEST_FULL") == "" {
		t.Skip("SKIPPED: the standard library is compiled twice; left to K6X_TEST_FULL=1")
	}
	far := t.TempDir()
	first := newMachine(t, emptyDir(t), "file://"+far, false)
	truth := first.build(t)
	first.close(t)
	if n := first.builds.cache.Stats(); n.Misses == 0 || n.OutputsSent == 0 || n.Dropped != 0 || n.WriteFailures != 0 {
		t.Fatalf("%+v", n)
	}

	t.Run("empty", func(t *testing.T) {
		second := newMachine(t, emptyDir(t), "file://"+far, true)
		if !bytes.Equal(second.build(t), truth) {
			t.Error("other bytes")
		}
		// What the go command notes of the directories of its modules is no use elsewhere.
		if n := second.builds.cache.Stats(); n.RemoteHits < 30 || n.Misses > 5 || n.OutputsSent != 0 {
			t.Errorf("%+v", n)
		}
	})

	t.Run("garbage", func(t *testing.T) {
		err := filepath.WalkDir(far, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.Contains(path, "packs") {
				return err
			}
			return os.WriteFile(path, bytes.Repeat([]byte("garbage"), 1000), 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		third := newMachine(t, emptyDir(t), "file://"+far, true)
		if !bytes.Equal(third.build(t), truth) {
			t.Error("other bytes")
		}
		if n := third.builds.cache.Stats(); n.ReadFailures == 0 || n.Misses == 0 {
			t.Errorf("%+v", n)
		}
	})
}

// The go command blames a package for what the disk did: that is not what a person is told.
func TestABuildCacheThatCannotBeWrittenIsNoFaultOfAnExtension(t *testing.T) {
	if os.Getuid() == 0 && runtime.GOOS != "linux" || runtime.GOOS == "windows" {
		t.Skip("SKIPPED: a directory cannot be made read-only for this user")
	}
	dir := warmDir(t)
	m := newMachine(t, dir, "file://"+t.TempDir(), false)
	// In the way of the temporary files is what is no directory.
	temp := filepath.Join(GoCache(dir), "k6x-temp")
	if err := os.RemoveAll(temp); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(temp, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := m.engine.Build(t.Context(), builder.Job{Recipe: m.recipe()}, nil, io.Discard)
	if kind := k6x.KindOf(err); kind != k6x.Internal {
		t.Errorf("%v, of kind %v", err, kind)
	}
	if err := os.Remove(temp); err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		return
	}
	m.build(t)
}

// A job that is to tell whether other machines are right takes nothing that any of them may have compiled.
func TestWhatIsBuiltAloneTakesNothingOfOthers(t *testing.T) {
	dir := warmDir(t)
	if err := warmcache.CopyStandard(filepath.Join(GoDir(dir), "gocache-alone")); err != nil {
		t.Fatal(err)
	}
	modules := testmod.ServeFiles(t, map[string]string{"go.k6.io/k6@v1.0.0": testmod.Bare,
		"example.com/xk6-hello@v0.1.0": "-- x.go --\npackage x\n\nimport \"os\"\n\nfunc init() { _ = os.Setenv(\"HELLO\", \"it is true\") }\n"})
	tools, err := OpenTools(t.Context(), ToolsConfig{Env: []string{"GOPROXY=" + modules, "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB="}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer tools.Close()
	engine, err := tools.OpenNative(t.Context(), native.Config{}, BuildCacheConfig{URL: "mem://", CacheDir: dir}, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, builds, err := tools.OpenAlone(t.Context(), native.Config{}, dir, nil, engine)
	if err != nil {
		t.Fatal(err)
	}
	m := machine{engine: engine}
	build := func(alone bool) []byte {
		var out bytes.Buffer
		if _, err := builds.Build(t.Context(), builder.Job{Recipe: m.recipe(), Alone: alone}, nil, &out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	truth := build(false)
	damaged := 0
	err = filepath.WalkDir(GoCache(dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(text, []byte("!<arch>")) || !bytes.Contains(text, []byte("it is true")) {
			return err
		}
		damaged++
		return os.WriteFile(path, bytes.ReplaceAll(text, []byte("it is true"), []byte("it is FALS")), 0o644)
	})
	if err != nil || damaged == 0 {
		t.Fatalf("%v, %d", err, damaged)
	}
	if bytes.Equal(build(false), truth) {
		t.Error("what was compiled is not used")
	}
	before := tools.Shared.cache.Stats()
	if !bytes.Equal(build(true), truth) {
		t.Error("other bytes")
	}
	if after := tools.Shared.cache.Stats(); after != before {
		t.Errorf("%+v, it was %+v", after, before)
	}
}

func TestScopesAreNamedByAllThatCodeDependsOn(t *testing.T) {
	base := k6x.Recipe{Platform: k6x.Platform{OS: "linux", Arch: "amd64"}}
	base.Toolchain = "go1.26.8"
	if got := scopeOf(base); got != "go1.26.8-linux-amd64" {
		t.Error(got)
	}
	seen := map[string]bool{scopeOf(base): true}
	for _, change := range []func(*k6x.Recipe){
		func(r *k6x.Recipe) { r.Toolchain = "go1.26.9" },
		func(r *k6x.Recipe) { r.Platform.Arch = "arm64" },
		func(r *k6x.Recipe) { r.Env = []string{"GOAMD64=v3"} },
		func(r *k6x.Recipe) { r.Env = []string{"GOAMD64=v4"} },
		func(r *k6x.Recipe) { r.Toolchain = "go1.26.8 X:nocoverageredesign" },
		func(r *k6x.Recipe) { r.Toolchain = "go1.26.8 X:NoCoverageRedesign" },
		func(r *k6x.Recipe) { r.Toolchain = strings.Repeat("devel-", 50) },
	} {
		r := base
		change(&r)
		scope := scopeOf(r)
		if seen[scope] {
			t.Errorf("%s is there twice", scope)
		}
		seen[scope] = true
		c, err := buildcache.New(buildcache.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(buildcache.Build{Scope: scope}); err != nil {
			t.Error(err)
		}
		c.Close(t.Context())
	}
}

package native

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/workdir"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// cacheDir is shared by all tests that do not need one of their own.
var cacheDir string

// hangingBuild is the variable for a process that a test kills; it cannot clean up.
const hangingBuild = "K6X_TEST_HANGING_BUILD"

func TestMain(m *testing.M) {
	if os.Getenv(hangingBuild) != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "native")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cacheDir = dir
	if err := warmcache.CopyStandard(filepath.Join(dir, "gocache")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = workdir.RemoveAll(dir)
	os.Exit(code)
}

// newEngine returns an engine over the stand-in modules. Fields of cfg that are not set
// are chosen.
func newEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	if cfg.Tool == nil {
		cfg.Tool = standinTool(t, testmod.Serve(t, "../../testdata/standin"))
	}
	if cfg.Dir == "" {
		cfg.Dir = cacheDir
	}
	if cfg.Cage == nil {
		var err error
		if cfg.Cage, err = cage.New(cage.Config{Mode: cage.Auto}); err != nil {
			t.Fatal(err)
		}
	}
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := leftovers(t, e); len(left) > 0 {
			t.Errorf("left in the work directory: %v", left)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func standinTool(t *testing.T, proxy string, extra ...string) *gotool.Tool {
	t.Helper()
	tool, err := gotool.Find(t.Context(), append([]string{"GOPROXY=" + proxy, "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB="}, extra...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

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
	if err := warmcache.Share(filepath.Join(dir, "gocache"), filepath.Join(cacheDir, "gocache")); err != nil {
		t.Fatal(err)
	}
}

// leftovers returns what is in the engine's work directory but for its lock.
func leftovers(t *testing.T, e *Engine) []string {
	t.Helper()
	e.Settle(t.Context())
	entries, err := os.ReadDir(e.Work.Path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.Name() != workdir.LockName {
			names = append(names, entry.Name())
		}
	}
	return names
}

// mod returns the module of the stand-in extension name@version, asked for as k6/x/name.
func mod(item string) k6x.Module {
	name, version, _ := strings.Cut(item, "@")
	return k6x.Module{Path: "example.com/xk6-" + name, Version: version, Names: []string{"k6/x/" + name}}
}

// recipe returns the recipe of a k6, "v1.0.0", and extensions, "hello@v0.1.0", for this machine.
func (e *Engine) recipe(k6 string, extensions ...string) k6x.Recipe {
	path := "go.k6.io/k6"
	if strings.HasPrefix(k6, "v2") {
		path += "/v2"
	}
	modules := []k6x.Module{{Path: path, Version: k6, Names: []string{"k6"}}}
	for _, item := range extensions {
		modules = append(modules, mod(item))
	}
	return k6x.NewRecipe(k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, modules, false, e.Settings())
}

func build(t *testing.T, e *Engine, recipe k6x.Recipe, lock *k6x.Lock) ([]byte, k6x.Build) {
	t.Helper()
	var buf bytes.Buffer
	report, err := e.Build(t.Context(), builder.Job{Recipe: recipe, Lock: lock}, nil, &buf)
	e.Settle(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, k6x.AsError(err).Output)
	}
	return buf.Bytes(), report
}

// version runs a binary and returns what it says of itself.
func versionOf(t *testing.T, binary []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "k6.exe")
	if err := os.WriteFile(file, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), file, "version").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestBuildLinksK6AndTheExtensions(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0", "world@v0.1.0", "hello@v0.1.0", "many@v0.1.0", "out@v0.1.0", "sub@v0.1.0")
	binary, report := build(t, e, recipe, nil)
	want := "k6 v1.0.0 (" + recipe.Toolchain + ", " + recipe.Platform.String() + `)
  example.com/xk6-hello v0.1.0, k6/x/hello [js]
  example.com/xk6-many v0.1.0, k6/x/many [js]
  example.com/xk6-many v0.1.0, k6/x/many/more [js]
  example.com/xk6-world v0.1.0, k6/x/world [js]
  example.com/xk6-many v0.1.0, many [output]
  example.com/xk6-out v0.1.0, out [output]
  example.com/xk6-sub v0.1.0, sub [subcommand]
`
	if got := versionOf(t, binary); got != want {
		t.Errorf("it says\n%swant\n%s", got, want)
	}
	if report.Toolchain != recipe.Toolchain || report.Started.IsZero() || report.Duration <= 0 {
		t.Errorf("report %+v", report)
	}
	linked := make(map[string]string)
	for _, m := range report.BuildList {
		linked[m.Path] = m.Version
		if !strings.HasPrefix(m.Sum, "h1:") || !strings.Contains(report.Lock.GoSum, m.Path+" "+m.Version+" "+m.Sum) {
			t.Errorf("%s has sum %q, which is not in go.sum", m.Path, m.Sum)
		}
	}
	if linked["example.com/greeting"] != "v1.0.0" || len(linked) != 7 {
		t.Errorf("build list %v", linked)
	}
	if !strings.Contains(report.Lock.GoMod, "example.com/greeting v1.0.0 // indirect") {
		t.Errorf("the lock does not have the version of a dependency:\n%s", report.Lock.GoMod)
	}
}

func TestBuildTakesReleasesThatNobodyWouldBeGivenUnasked(t *testing.T) {
	e := newEngine(t, Config{})
	for _, item := range []string{"hello@v0.2.0", "hello@v0.3.0-rc.1"} { // retracted, pre-release
		binary, _ := build(t, e, e.recipe("v1.2.0-rc.1", item), nil)
		_, v, _ := strings.Cut(item, "@")
		if got := versionOf(t, binary); !strings.Contains(got, "xk6-hello "+v) || !strings.HasPrefix(got, "k6 v1.2.0-rc.1 ") {
			t.Errorf("it says %s", got)
		}
	}
}

func TestBuildMakesK6OfMajorVersion2(t *testing.T) {
	e := newEngine(t, Config{})
	binary, _ := build(t, e, e.recipe("v2.0.0", "two@v0.1.0"), nil)
	if got := versionOf(t, binary); !strings.HasPrefix(got, "k6 v2.0.0 ") || !strings.Contains(got, "k6/x/two") {
		t.Errorf("it says %s", got)
	}
}

func TestBuildForAnotherPlatform(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0", "hello@v0.1.0")
	recipe.Platform = k6x.Platform{OS: "windows", Arch: "amd64"}
	binary, _ := build(t, e, recipe, nil)
	if !bytes.HasPrefix(binary, []byte("MZ")) {
		t.Errorf("it starts with %q", binary[:2])
	}
}

func TestBuildGivesTheSameBytesElsewhereWatchedAndFromALock(t *testing.T) {
	t.Parallel()
	modules := testmod.ServeFiles(t, map[string]string{
		"go.k6.io/k6@v1.0.0":           testmod.Bare,
		"example.com/xk6-hello@v0.1.0": "-- x.go --\npackage x\n\nfunc init() { println(1) }\n",
		"example.com/xk6-world@v0.1.0": "-- go.mod --\nmodule example.com/xk6-world\n\ngo 1.21\n\nrequire example.com/greeting v1.0.0\n" +
			"-- x.go --\npackage x\n\nimport _ \"example.com/greeting\"\n",
	}, "../../testdata/standin/example.com_greeting_v1.0.0.txtar") // which need little of the standard library, as that is compiled, too
	e := newEngine(t, Config{Dir: warmDir(t), Tool: standinTool(t, modules)})
	recipe := e.recipe("v1.0.0", "hello@v0.1.0", "world@v0.1.0")
	want, first := build(t, e, recipe, nil)

	elsewhere := filepath.Join(emptyDir(t), "a longer", "path")
	other := newEngine(t, Config{Dir: elsewhere, Tool: standinTool(t, modules, "GOGC=50")})
	sink, seen := watched()
	var fresh bytes.Buffer
	second, err := other.Build(t.Context(), builder.Job{Recipe: recipe}, sink, &fresh)
	if err != nil {
		t.Fatal(err)
	}
	wantSteps(t, *seen)
	if !bytes.Equal(fresh.Bytes(), want) {
		t.Error("other bytes from empty caches in another directory, watched")
	}
	if second.Lock != first.Lock {
		t.Errorf("other lock:\n%s\nwas\n%s", second.Lock, first.Lock)
	}
	locked, third := build(t, e, recipe, &first.Lock)
	if !bytes.Equal(locked, want) || third.Lock != first.Lock {
		t.Error("other bytes or another lock from the lock")
	}
	if bytes.Contains(want, []byte(e.Dir)) || bytes.Contains(want, []byte(e.Tool.Root)) {
		t.Error("a path of this machine is in the binary")
	}
}

func TestBuildKeepsToTheLock(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0", "world@v0.1.0")
	_, report := build(t, e, recipe, nil)
	for name, c := range map[string]struct {
		old, new string
		kind     k6x.Kind
	}{
		"a version without a checksum": {"greeting v1.0.0", "greeting v1.1.0", k6x.Internal},
		"another checksum":             {"go.k6.io/k6 v1.0.0 h1:", "go.k6.io/k6 v1.0.0 h1:AAAA", k6x.Forbidden},
		"a replaced module":            {"module k6\n", "module k6\n\nreplace example.com/greeting => ../evil\n", k6x.Internal},
		"no go.mod":                    {"require", "requires", k6x.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			lock := report.Lock
			lock.GoMod = strings.ReplaceAll(lock.GoMod, c.old, c.new)
			lock.GoSum = replaceSum(lock.GoSum, c.old, c.new)
			if lock == report.Lock {
				t.Fatal("the lock was not changed")
			}
			var buf bytes.Buffer
			if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe, Lock: &lock}, nil, &buf); k6x.KindOf(err) != c.kind || err == nil {
				t.Errorf("got %v", err)
			}
			if buf.Len() > 0 {
				t.Error("something was written")
			}
		})
	}
}

// replaceSum changes a checksum but not its length.
func replaceSum(text, old, new string) string {
	i := strings.Index(text, old)
	if i < 0 || !strings.Contains(old, "h1:") {
		return text
	}
	return text[:i] + new + text[i+len(new):]
}

func TestBuildRefusesRecipesThatItWouldNotFollow(t *testing.T) {
	e := newEngine(t, Config{})
	for name, change := range map[string]func(*k6x.Recipe){
		"layout":        func(r *k6x.Recipe) { r.Layout++ },
		"flags":         func(r *k6x.Recipe) { r.Flags = append(r.Flags, "-toolexec=evil") },
		"toolchain":     func(r *k6x.Recipe) { r.Toolchain = "local" },
		"environment":   func(r *k6x.Recipe) { r.Env = []string{"GOPROXY=https://evil.example"} },
		"platform":      func(r *k6x.Recipe) { r.Platform.OS = "linux\nGOFLAGS=" },
		"version":       func(r *k6x.Recipe) { r.K6.Version = "latest" },
		"path":          func(r *k6x.Recipe) { r.Extensions[0].Path = "example.com/a\" // " },
		"relative path": func(r *k6x.Recipe) { r.Extensions[0].Path = "../evil" },
		"module twice":  func(r *k6x.Recipe) { r.Extensions[0] = r.K6 },
	} {
		t.Run(name, func(t *testing.T) {
			recipe := e.recipe("v1.0.0", "hello@v0.1.0")
			change(&recipe)
			want := k6x.Invalid
			switch name {
			case "platform":
				want = k6x.NotFound
			case "layout", "flags": // another version of k6x could follow these
				want = k6x.Unavailable
			}
			if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &bytes.Buffer{}); k6x.KindOf(err) != want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSettingsAreWhatDecidesTheBytes(t *testing.T) {
	e := newEngine(t, Config{Tool: standinTool(t, "off", "GOARM64=v8.1", "GOAMD64=v2")})
	s := e.Settings()
	if s.Toolchain != e.Tool.Version || s.Layout != 1 || strings.Join(s.Env, " ") != "GOAMD64=v2 GOARM64=v8.1" ||
		strings.Join(s.Flags, " ") != "-trimpath -buildvcs=false -ldflags=-s -w -buildid=" {
		t.Errorf("%+v", s)
	}
	s.Flags[0] = "changed"
	if e.Settings().Flags[0] != "-trimpath" {
		t.Error("a caller can change the settings of the engine")
	}
}

func TestBuildWithCgo(t *testing.T) {
	t.Parallel()
	off := newEngine(t, Config{})
	recipe := off.recipe("v1.0.0", "cgo@v0.1.0")
	recipe.Cgo = true
	_, err := off.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &bytes.Buffer{})
	if k6x.KindOf(err) != k6x.Forbidden || !strings.Contains(err.Error(), "k6/x/cgo") {
		t.Errorf("cgo is off: %v", err)
	}

	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("K6X_TEST_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip("no C compiler on PATH: ", err)
	}
	on := newEngine(t, Config{Cgo: true})
	binary, _ := build(t, on, recipe, nil)
	if got := versionOf(t, binary); !strings.Contains(got, "k6/x/cgo") {
		t.Errorf("it says %s", got)
	}
	broken := newEngine(t, Config{Cgo: true, Tool: standinTool(t, testmod.Serve(t, "../../testdata/standin"), "CC=no-such-compiler")})
	recipe.Settings = broken.Settings()
	_, err = broken.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &bytes.Buffer{})
	if k6x.KindOf(err) != k6x.BuildFailed || !strings.Contains(err.Error(), "no C compiler") {
		t.Errorf("no compiler: %v", err)
	}
}

func TestExclusiveRunsWhileNoBuildDoes(t *testing.T) {
	e := newEngine(t, Config{})
	leave, err := e.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() { waiting <- e.Exclusive(ctx, func() error { return nil }) }()
	cancel()
	if err := <-waiting; err == nil {
		t.Error("it ran during a build")
	}
	leave()
	if err := e.Exclusive(t.Context(), func() error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := e.Build(ctx, builder.Job{Recipe: e.recipe("v1.0.0")}, nil, &bytes.Buffer{}); k6x.KindOf(err) != k6x.Canceled {
			t.Errorf("a build meanwhile got %v", err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	build(t, e, e.recipe("v1.0.0"), nil)

	other := newEngine(t, Config{Tool: e.Tool}) // as in another process
	leave, err = other.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if err := e.Exclusive(t.Context(), func() error { t.Error("it ran during a build elsewhere"); return nil }); k6x.KindOf(err) != k6x.Busy {
		t.Errorf("got %v", err)
	}
}

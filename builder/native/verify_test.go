package native

import (
	"debug/buildinfo"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
)

// goodBinary returns what a binary says of itself that is what standinBlame asks for.
func goodBinary() *debug.BuildInfo {
	return &debug.BuildInfo{
		GoVersion: "go1.26.8", Path: "k6", Main: debug.Module{Path: "k6"},
		Deps: []*debug.Module{
			{Path: "example.com/greeting", Version: "v1.0.0"},
			{Path: "example.com/xk6-world", Version: "v0.1.0"},
			{Path: "go.k6.io/k6", Version: "v1.0.0"},
		},
		Settings: []debug.BuildSetting{
			{Key: "-buildmode", Value: "exe"}, {Key: "-trimpath", Value: "true"}, {Key: "CGO_ENABLED", Value: "0"},
			{Key: "GOARCH", Value: "amd64"}, {Key: "GOOS", Value: "linux"},
		},
	}
}

func TestVerifyTakesOnlyWhatWasAskedFor(t *testing.T) {
	b := standinBlame()
	check := func(info *debug.BuildInfo) error {
		if err := checkProgram(info, b.recipe); err != nil {
			return err
		}
		return b.checkModules(info)
	}
	if err := check(goodBinary()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*debug.BuildInfo)
		kind   k6x.Kind
	}{
		"another program":           {func(i *debug.BuildInfo) { i.Path = "example.com/other" }, k6x.Internal},
		"another main module":       {func(i *debug.BuildInfo) { i.Main.Path = "other" }, k6x.Internal},
		"another toolchain":         {func(i *debug.BuildInfo) { i.GoVersion = "go1.26.7" }, k6x.Internal},
		"another platform":          {func(i *debug.BuildInfo) { i.Settings[4].Value = "darwin" }, k6x.Internal},
		"another architecture":      {func(i *debug.BuildInfo) { i.Settings[3].Value = "arm64" }, k6x.Internal},
		"cgo":                       {func(i *debug.BuildInfo) { i.Settings[2].Value = "1" }, k6x.Internal},
		"paths of the machine":      {func(i *debug.BuildInfo) { i.Settings[1].Key = "-other" }, k6x.Internal},
		"an extension is missing":   {func(i *debug.BuildInfo) { i.Deps = i.Deps[2:] }, k6x.Internal},
		"k6 is missing":             {func(i *debug.BuildInfo) { i.Deps = i.Deps[:2] }, k6x.Internal},
		"an extension is replaced":  {func(i *debug.BuildInfo) { i.Deps[1].Replace = &debug.Module{Path: "../fork"} }, k6x.Internal},
		"another version of k6":     {func(i *debug.BuildInfo) { i.Deps[2].Version = "v1.1.0" }, k6x.Conflict},
		"another extension version": {func(i *debug.BuildInfo) { i.Deps[1].Version = "v0.1.1" }, k6x.Conflict},
		"another major of k6":       {func(i *debug.BuildInfo) { i.Deps[0].Path = "go.k6.io/k6/v2" }, k6x.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			info := goodBinary()
			c.change(info)
			if err := check(info); err == nil || k6x.KindOf(err) != c.kind {
				t.Errorf("got %v, want kind %v", err, c.kind)
			}
		})
	}
}

func TestInspectRefusesAnotherBinary(t *testing.T) {
	e := newEngine(t, Config{})
	ws, err := newWorkspace(e.work.Path, e.recipe("v1.0.0"), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.remove(e.log)
	if _, err := e.inspect(ws); err == nil {
		t.Error("there is no binary and it was taken")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := buildinfo.ReadFile(self); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]string{"this test": self, "no binary": "native_test.go"} {
		copyFile(t, source, ws.output())
		if _, err := e.inspect(ws); k6x.KindOf(err) != k6x.Internal || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestVersionThatNoGoModNames shows the check that stands behind the one that kills the
// go command: with a version in go.mod that the pins do not lead to, the build fails.
func TestVersionThatNoGoModNames(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0", "untidy@v0.1.0")
	ws, err := newWorkspace(e.work.Path, recipe, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.remove(e.log)
	goMod := filepath.Join(ws.dir, "go.mod")
	if err := os.WriteFile(goMod, []byte(newGoMod(recipe)+"\nrequire example.com/greeting v1.1.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := e.compile(t.Context(), ws); err != nil {
		t.Fatal(err)
	}
	_, err = e.inspect(ws)
	failure{kind: k6x.BuildFailed, message: []string{"example.com/greeting@v1.1.0 would be linked in, but no go.mod of", "k6/x/untidy"}, hint: "go mod tidy"}.check(t, err)
}

func TestGraphReadsOnlyWhatIsThereAndSound(t *testing.T) {
	cache := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		file = filepath.Join(cache, "cache", "download", filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("example.com/a/@v/v1.0.0.mod", "module example.com/a\nrequire (\n\texample.com/b v1.0.0\n\texample.com/BIG v1.0.0\n\t../../evil v1.0.0\n)\n")
	write("example.com/b/@v/v1.0.0.mod", "module example.com/b\nrequire example.com/a v1.0.0\nrequire example.com/c v1.2.0") // a circle
	write("example.com/!b!i!g/@v/v1.0.0.mod", "module example.com/BIG\nrequire example.com/c v1.10.0\n")
	write("example.com/c/@v/v1.2.0.mod", "this is no go.mod {{{")
	a := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	g := loadGraph((&goMods{modCache: cache}).read, []module.Version{a})
	if got := g.selected(); got["example.com/c"] != "v1.10.0" || got["example.com/b"] != "v1.0.0" {
		t.Errorf("selected %v", got)
	}
	if !g.has(module.Version{Path: "example.com/c", Version: "v1.2.0"}) || g.has(module.Version{Path: "example.com/c", Version: "v1.3.0"}) {
		t.Error("the versions that are named are not those of the files")
	}
	if who := g.pinsOf(func(m module.Version) bool { return m.Path == "example.com/c" }); len(who) != 1 || who[0] != a {
		t.Errorf("c is needed by %v", who)
	}
}

// failingWriter takes n bytes.
type failingWriter struct {
	n   int
	err error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, w.err
	}
	return len(p), nil
}

func TestBuildReturnsTheErrorOfTheWriter(t *testing.T) {
	e := newEngine(t, Config{})
	full := k6x.Errorf(k6x.NoSpace, "the store is full")
	if _, err := e.Build(t.Context(), e.recipe("v1.0.0"), nil, &failingWriter{n: 1000, err: full}); err != full {
		t.Errorf("got %v", err)
	}
	_, err := e.Build(t.Context(), e.recipe("v1.0.0"), nil, &failingWriter{n: 1000, err: io.ErrClosedPipe})
	if k6x.KindOf(err) != k6x.Internal {
		t.Errorf("got %v", err)
	}
}

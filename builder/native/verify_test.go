package native

import (
	"debug/buildinfo"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
)

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
	if err := os.WriteFile(goMod, []byte(gobuild.GoMod(recipe)+"\nrequire example.com/greeting v1.1.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := e.compile(t.Context(), ws); err != nil {
		t.Fatal(err)
	}
	_, err = e.inspect(ws)
	failure{kind: k6x.BuildFailed, message: []string{"example.com/greeting@v1.1.0 would be linked in, but no go.mod of", "k6/x/untidy"}, hint: "go mod tidy"}.check(t, err)
}

func TestGoModsReadOnlyWhatIsThereAndSound(t *testing.T) {
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
	write("example.com/a/@v/v1.0.0.mod", "module example.com/a\nrequire (\n\texample.com/b v1.0.0\n\t../../evil v1.0.0\n)\n")
	write("example.com/!b!i!g/@v/v1.0.0.mod", "module example.com/BIG\nrequire example.com/c v1.10.0\n")
	write("example.com/c/@v/v1.2.0.mod", "module example.com/c\nrequire (\n")
	mods := &goMods{modCache: cache}
	for m, want := range map[module.Version]int{
		{Path: "example.com/BIG", Version: "v1.0.0"}:  1,
		{Path: "example.com/c", Version: "v1.2.0"}:    -1,
		{Path: "example.com/gone", Version: "v1.0.0"}: -1,
		{Path: "../../evil", Version: "v1.0.0"}:       -1,
	} {
		if f := mods.read(m); want < 0 && f != nil || want > 0 && (f == nil || len(f.requires) != want) {
			t.Errorf("%s: %+v", m, f)
		}
	}
	if f := mods.read(module.Version{Path: "example.com/a", Version: "v1.0.0"}); f == nil || f.requires[0].Path != "example.com/b" {
		t.Errorf("a: %+v", f)
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
	if _, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, &failingWriter{n: 1000, err: full}); err != full {
		t.Errorf("got %v", err)
	}
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, &failingWriter{n: 1000, err: io.ErrClosedPipe})
	if k6x.KindOf(err) != k6x.Internal {
		t.Errorf("got %v", err)
	}
}

package native

import (
	"debug/buildinfo"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
)

func TestInspectRefusesAnotherBinary(t *testing.T) {
	e := newEngine(t, Config{})
	ws, err := e.newWorkspace(e.recipe("v1.0.0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if _, err := ws.Inspect(true); err == nil {
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
		copyFile(t, source, ws.Output())
		if _, err := ws.Inspect(true); k6x.KindOf(err) != k6x.Internal || err == nil {
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
	ws, err := e.newWorkspace(recipe, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	goMod := filepath.Join(ws.dir, "go.mod")
	if err := os.WriteFile(goMod, []byte(gobuild.GoMod(recipe)+"\nrequire example.com/greeting v1.1.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if done := e.fetch(t.Context(), ws); done.err != nil { // or the build, which lacks a module, begins anew with the pins
		t.Fatal(done.text)
	}
	if err := e.compile(t.Context(), ws); err != nil {
		t.Fatal(err)
	}
	_, err = ws.Inspect(true)
	failure{kind: k6x.BuildFailed, message: []string{"example.com/greeting@v1.1.0 would be linked in, but no go.mod of", "k6/x/untidy"}, hint: "go mod tidy"}.check(t, err)
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

package native

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
)

// What another machine made is accepted by an engine that has none of the modules, and gives the same report and bytes.
func TestWhatIsMadeElsewhereIsAccepted(t *testing.T) {
	other := newEngine(t, Config{})
	recipe := other.recipe("v1.0.0", "world@v0.1.0")
	var binary bytes.Buffer
	made, err := other.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &binary)
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, Config{Dir: emptyDir(t), Tool: other.Tool})
	accept := func(job builder.Job, lock k6x.Lock) (k6x.Build, []byte, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "binary")
		if err := os.WriteFile(file, binary.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		build, err := e.Accept(t.Context(), job, file, lock, &out)
		return build, out.Bytes(), err
	}
	build, bytes, err := accept(builder.Job{Recipe: recipe}, made.Lock)
	if err != nil || string(bytes) != binary.String() || build.Lock != made.Lock || len(build.BuildList) != len(made.BuildList) || build.Toolchain != made.Toolchain {
		t.Errorf("%v: %+v", err, build)
	}
	if _, _, err := accept(builder.Job{Recipe: recipe, Lock: &made.Lock}, k6x.Lock{}); err != nil {
		t.Errorf("with a lock that is kept: %v", err)
	}
	evil := made.Lock
	evil.GoMod += "\nrequire example.com/greeting v1.1.0\n"
	for name, lock := range map[string]k6x.Lock{
		"a version that nobody asks for": evil, "none": {}, "one too large": {GoMod: made.Lock.GoMod, GoSum: strings.Repeat("x", maxLock+1)},
	} {
		if _, _, err := accept(builder.Job{Recipe: recipe}, lock); !errors.Is(err, ErrUntrue) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := accept(builder.Job{Recipe: e.recipe("v1.0.0", "hello@v0.1.0")}, made.Lock); !errors.Is(err, ErrUntrue) {
		t.Errorf("another recipe: %v", err)
	}
}

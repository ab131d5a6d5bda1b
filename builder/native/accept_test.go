package native

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"

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

// A service that builds nothing has no modules yet: it fetches those of the recipe, and finds what a lock says beside them.
func TestALockFromElsewhereIsJudgedByWhatIsFetchedHere(t *testing.T) {
	other := newEngine(t, Config{})
	recipe := other.recipe("v1.0.0", "world@v0.1.0")
	var binary bytes.Buffer
	made, err := other.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := made.BuildList[0].Sum
	forged := "h1:" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	for name, c := range map[string]struct{ goMod, sum string }{
		"a requirement that there is": {"\nrequire example.com/greeting v1.1.0\n", sum},
		"one that there is not":       {"\nrequire example.com/no/such v1.0.0\n", sum},
		"a newer toolchain":           {"\ntoolchain go1.999.0\n", sum},
		"a sum":                       {"", forged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := emptyDir(t)
			e := newEngine(t, Config{Dir: dir, Tool: other.Tool})
			file := filepath.Join(t.TempDir(), "binary")
			if err := os.WriteFile(file, bytes.ReplaceAll(binary.Bytes(), []byte(sum), []byte(c.sum)), 0o600); err != nil {
				t.Fatal(err)
			}
			lock := k6x.Lock{GoMod: made.Lock.GoMod + c.goMod, GoSum: strings.ReplaceAll(made.Lock.GoSum, sum, c.sum)}
			if _, err := e.Accept(t.Context(), builder.Job{Recipe: recipe}, file, lock, new(bytes.Buffer)); !errors.Is(err, ErrUntrue) {
				t.Error(err)
			}
			if f := e.mods.GoMod(module.Version{Path: "example.com/greeting", Version: "v1.1.0"}); f != nil {
				t.Error("what the other machine named was fetched")
			}
		})
	}
}

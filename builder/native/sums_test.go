package native

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"k6x/internal/testmod"
)

// What one build has learned helps the next one, but does not get into its lock, and the
// lock is as good as one of a build that knew nothing.
func TestKnownSumsDoNotLeakIntoLocks(t *testing.T) {
	e := newEngine(t, Config{})
	build(t, e, e.recipe("v1.1.0", "world@v0.1.0"), nil)
	if !strings.Contains(e.sums.lines(), "example.com/xk6-world v0.1.0 h1:") {
		t.Fatalf("the sums of a build are not known:\n%s", e.sums.lines())
	}
	recipe := e.recipe("v1.1.0", "hello@v0.1.0")
	binary, made := build(t, e, recipe, nil)
	if strings.Contains(made.Lock.GoSum, "xk6-world") {
		t.Errorf("a sum of another build is in the lock:\n%s", made.Lock.GoSum)
	}
	ignorant := newEngine(t, Config{})
	alone, reference := build(t, ignorant, recipe, nil)
	if made.Lock != reference.Lock || string(binary) != string(alone) {
		t.Errorf("the lock is\n%s\n%s\nwant\n%s\n%s", made.Lock.GoMod, made.Lock.GoSum, reference.Lock.GoMod, reference.Lock.GoSum)
	}
}

func TestKnownSumsAreBounded(t *testing.T) {
	var s sums
	for i := range maxSums>>20 + 2 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", 1<<20))
		if s.learn(line); !strings.Contains(s.lines(), line) || len(s.lines()) > maxSums {
			t.Fatalf("after %d: %d bytes", i, len(s.lines()))
		}
	}
}

// What the go command did without, as no package of it is needed, is not missed.
func TestLockDoesWithoutGoModsThatNobodyNeeds(t *testing.T) {
	const old = "-- go.mod --\nmodule example.com/xk6-old\n\ngo 1.16\n\nrequire example.com/gone v1.0.0\n-- x.go --\npackage x\n"
	proxy := testmod.ServeFiles(t, map[string]string{"example.com/xk6-old@v0.1.0": old}, "../../testdata/standin/go.k6.io_k6_v1.0.0.txtar")
	e := newEngine(t, Config{Tool: standinTool(t, proxy), Dir: warmDir(t)})
	recipe := e.recipe("v1.0.0", "old@v0.1.0")
	binary, report := build(t, e, recipe, nil)
	if again, _ := build(t, e, recipe, &report.Lock); !bytes.Equal(again, binary) {
		t.Error("another binary from the lock")
	}
}

package resolver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
)

func TestNeedsFollowsGraphPruning(t *testing.T) {
	p := newModuleProxy(universe{
		"example.com/pruned@v1.0.0": "go 1.21\nrequire example.com/deep v1.0.0\nreplace example.com/deep => ./deep\n",
		"example.com/old@v1.0.0":    "go 1.16\nrequire example.com/pruned v1.0.0\nrequire example.com/leaf v0.1.0\n",
		"example.com/older@v1.0.0":  "require example.com/leaf v0.2.0\n",
		"example.com/deep@v1.0.0":   "go 1.22\nrequire example.com/leaf v0.3.0\nexclude example.com/leaf v0.3.0\n",
		"example.com/leaf@v0.1.0":   "go 1.25\n",
		"example.com/leaf@v0.2.0":   "",
		"example.com/leaf@v0.3.0":   "",
	})
	r := resolverOf(t, p, worldRegistry, nil)
	for _, test := range []struct {
		mod, goLine string
		lowest      map[string]string
	}{
		{"example.com/pruned", "1.21", map[string]string{"example.com/deep": "v1.0.0"}},
		{"example.com/old", "1.25", map[string]string{"example.com/pruned": "v1.0.0", "example.com/deep": "v1.0.0", "example.com/leaf": "v0.3.0"}},
		{"example.com/older", "1.16", map[string]string{"example.com/leaf": "v0.2.0"}},
	} {
		n, err := r.mods.needs(t.Context(), module.Version{Path: test.mod, Version: "v1.0.0"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.lowest, n.lowest); diff != "" || n.goLine != test.goLine {
			t.Errorf("%s: go %s, want %s; %s", test.mod, n.goLine, test.goLine, diff)
		}
	}
}

// The go command itself decides: a set agrees exactly if the build list of a main module
// that requires the set has these versions.
func TestAgreementIsWhatTheGoCommandSelects(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command many times")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"go.k6.io/k6", "example.com/a", "example.com/b", "example.com/lib"}
	agreeing, sets := 0, 0
	for range 12 {
		mods := universe{}
		for i, name := range names {
			for v := 1; v <= 3; v++ {
				body := fmt.Sprintf("go %s\n", []string{"1.16", "1.17", "1.21"}[rng.IntN(3)])
				for j, other := range names {
					if j != i && rng.IntN(3) == 0 {
						body += fmt.Sprintf("require %s v1.0.%d\n", other, 1+rng.IntN(3))
					}
				}
				mods[fmt.Sprintf("%s@v1.0.%d", name, v)] = body
			}
		}
		p := newModuleProxy(mods)
		dir := p.writeTo(t)
		r := resolverOf(t, p, worldRegistry, nil)
		for range 5 {
			var set []pick
			for _, name := range names[:3] {
				mod := module.Version{Path: name, Version: fmt.Sprintf("v1.0.%d", 1+rng.IntN(3))}
				n, err := r.mods.needs(t.Context(), mod)
				if err != nil {
					t.Fatal(err)
				}
				set = append(set, pick{&target{path: name}, mod.Version, n})
			}
			clashes := (&solver{}).clashes(set)
			selected := goSelects(t, dir, set)
			agrees := true
			for _, p := range set {
				agrees = agrees && selected[p.path] == p.version
			}
			if agrees != (len(clashes) == 0) {
				t.Errorf("the go command selects %v, but the clashes are %v\nof %v\nin %v", selected, clashes, set, mods)
			}
			sets++
			if agrees {
				agreeing++
			}
		}
	}
	if agreeing == 0 || agreeing == sets {
		t.Errorf("%d of %d sets agree: that proves nothing", agreeing, sets)
	}
}

// goSelects returns the build list that the go command makes of a set.
func goSelects(t *testing.T, proxyDir string, set []pick) map[string]string {
	t.Helper()
	goMod := "module main.test\n\ngo 1.21\n\nrequire (\n"
	for _, p := range set {
		goMod += "\t" + p.path + " " + p.version + "\n"
	}
	dir := filepath.Dir(write(t, "go.mod", goMod+")\n"))
	cmd := exec.Command("go", "list", "-m", "-mod=mod", "all")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=file://"+filepath.ToSlash(proxyDir), "GOSUMDB=off", "GONOPROXY=none", "GOPRIVATE=", "GOFLAGS=",
		"GOWORK=off", "GOMODCACHE="+filepath.Join(t.TempDir(), "mod"), "GOTOOLCHAIN=local")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	selected := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) == 2 {
			selected[words[0]] = words[1]
		}
	}
	return selected
}

// agrees is what solve has to look for, written down as simply as can be.
func agrees(needs map[module.Version]*needs, set []module.Version) bool {
	for _, by := range set {
		forK6, forOther := false, false
		for path, lowest := range needs[by].lowest {
			for _, on := range set {
				if path == on.Path && lowest > on.Version {
					return false
				}
			}
			forK6 = forK6 || path == set[0].Path
			forOther = forOther || path == "go.k6.io/k6/v2"
		}
		if forOther && !forK6 && by != set[0] || needs[by].goLine > "1.26" {
			return false
		}
	}
	return true
}

// FuzzSolve compares the solver with trying all combinations.
func FuzzSolve(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(7), uint8(0))
	f.Add(uint64(99), uint8(4))
	f.Fuzz(func(t *testing.T, seed uint64, extensions uint8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		paths := []string{"go.k6.io/k6", "example.com/a", "example.com/b", "example.com/c", "example.com/d"}[:1+extensions%5]
		all := map[module.Version]*needs{}
		var wants []*target
		for _, path := range paths {
			w := &target{path: path}
			for v := 1 + rng.IntN(4); v > 0; v-- {
				version := fmt.Sprintf("v1.0.%d", v)
				n := &needs{goLine: []string{"1.20", "1.25", "1.27"}[min(2, rng.IntN(12)/5)], lowest: map[string]string{}}
				for _, other := range append(paths, "go.k6.io/k6/v2") {
					if other != path && rng.IntN(3) == 0 {
						n.lowest[other] = fmt.Sprintf("v1.0.%d", 1+rng.IntN(4))
					}
				}
				all[module.Version{Path: path, Version: version}] = n
				w.versions = append(w.versions, version)
			}
			wants = append(wants, w)
		}
		s := &solver{toolchain: "go1.26", needs: func(_ context.Context, mod module.Version) (*needs, error) {
			return all[mod], nil
		}}
		set, err := s.solve(t.Context(), wants)
		if err != nil {
			t.Fatal(err)
		}
		var got []module.Version
		for _, p := range set {
			got = append(got, module.Version{Path: p.path, Version: p.version})
		}
		want := firstThatAgrees(all, wants, nil)
		if !slices.Equal(got, want) {
			t.Errorf("solve finds %v, trying all finds %v", got, want)
		}
		if want == nil {
			failed := &failure{stage: conflict, solver: s}
			if err := failed.diagnose(t.Context()); err != nil || len(failed.clashes) == 0 {
				t.Errorf("nothing agrees, but there is no reason: %v", err)
			}
		}
	})
}

func firstThatAgrees(all map[module.Version]*needs, wants []*target, set []module.Version) []module.Version {
	if len(set) == len(wants) {
		if agrees(all, set) {
			return slices.Clone(set)
		}
		return nil
	}
	w := wants[len(set)]
	for _, v := range w.versions {
		if found := firstThatAgrees(all, wants, append(set, module.Version{Path: w.path, Version: v})); found != nil {
			return found
		}
	}
	return nil
}

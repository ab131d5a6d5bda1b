package gomod

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/mod/module"
)

// universe are go.mod files by module version.
type universe map[module.Version]string

func (u universe) read(_ context.Context, m module.Version) (*File, error) {
	text, ok := u[m]
	if !ok {
		return nil, nil
	}
	return Parse([]byte(text))
}

// readCase reads a universe and some roots in it.
func readCase(t *testing.T, file string) (u universe, roots []module.Version) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	u = make(universe)
	for _, f := range archive.Files {
		if f.Name != "roots" {
			u[ParseVersion(f.Name)] = string(f.Data)
			continue
		}
		for line := range strings.Lines(string(f.Data)) {
			roots = append(roots, ParseVersion(strings.Replace(strings.TrimSpace(line), " ", "@", 1)))
		}
	}
	return u, roots
}

// goSelects returns what go list -m all says of a main module that requires the roots.
func (u universe) goSelects(t *testing.T, roots []module.Version) map[string]string {
	t.Helper()
	dir := t.TempDir()
	versions := make(map[string]string)
	for m, text := range u {
		path, version, err := escape(m)
		if err != nil {
			t.Fatal(err)
		}
		at := "proxy/" + path + "/@v/"
		write(t, dir, at+version+".mod", text)
		write(t, dir, at+version+".info", fmt.Sprintf("{%q:%q}", "Version", m.Version))
		versions[at] += m.Version + "\n"
	}
	for at, list := range versions {
		write(t, dir, at+"list", list)
	}
	goMod := "module main.test\n\ngo 1.21\n\nrequire (\n"
	for _, m := range roots {
		goMod += "\t" + m.Path + " " + m.Version + "\n"
	}
	write(t, dir, "main/go.mod", goMod+")\n")
	cmd := exec.Command("go", "list", "-m", "-mod=mod", "all")
	cmd.Dir = filepath.Join(dir, "main")
	proxy := filepath.ToSlash(filepath.Join(dir, "proxy"))
	if !strings.HasPrefix(proxy, "/") {
		proxy = "/" + proxy
	}
	cmd.Env = append(os.Environ(), "GOPROXY=file://"+proxy, "GOSUMDB=off", "GONOPROXY=none", "GOPRIVATE=", "GOFLAGS=", "GOWORK=off",
		"GOMODCACHE="+filepath.Join(dir, "modcache"), "GOTOOLCHAIN=local")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	selected := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) == 2 {
			selected[words[0]] = words[1]
		}
	}
	return selected
}

func (u universe) wantAsGo(t *testing.T, roots []module.Version) {
	t.Helper()
	load := Loader{Read: u.read, AtOnce: 4}
	g, err := load.Select(t.Context(), roots)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := g.Selected(), u.goSelects(t, roots); !maps.Equal(got, want) {
		t.Errorf("selected %v, and the go command %v\nof %v\nin %v", got, want, roots, u)
	}
}

func TestSelectIsWhatTheGoCommandSelects(t *testing.T) {
	files, err := filepath.Glob("testdata/select/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			u, roots := readCase(t, file)
			u.wantAsGo(t, roots)
		})
	}
}

func TestSelectIsWhatTheGoCommandSelectsOfAnything(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: runs the go command many times")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "d", "e"}
	for range 30 {
		u := make(universe)
		some := func() module.Version {
			return module.Version{Path: "example.com/" + names[rng.IntN(len(names))], Version: fmt.Sprintf("v1.%d.0", rng.IntN(3))}
		}
		for _, name := range names {
			for minor := range 3 {
				m := module.Version{Path: "example.com/" + name, Version: fmt.Sprintf("v1.%d.0", minor)}
				u[m] = "module " + m.Path + "\n" + []string{"", "go 1.16\n", "go 1.17\n", "go 1.21\n"}[rng.IntN(4)]
				for range rng.IntN(3) {
					if r := some(); r.Path != m.Path && !strings.Contains(u[m], r.Path) {
						u[m] += "require " + r.Path + " " + r.Version + "\n"
					}
				}
			}
		}
		var roots []module.Version
		for range 2 {
			if r := some(); !slices.ContainsFunc(roots, func(m module.Version) bool { return m.Path == r.Path }) {
				roots = append(roots, r)
			}
		}
		u.wantAsGo(t, roots)
	}
}

func at(text string) module.Version { return ParseVersion(text) }

func TestLoadReadsWhatCountsOnce(t *testing.T) {
	u, roots := readCase(t, "testdata/select/pruning.txtar")
	var reads atomic.Int64
	load := Loader{Read: func(ctx context.Context, m module.Version) (*File, error) {
		reads.Add(1)
		return u.read(ctx, m)
	}}
	g, err := load.Load(t.Context(), slices.Concat(roots, roots))
	if err != nil || reads.Load() != 1 || g.Go != "1.17" || len(g.Needed) != 1 || len(g.Files) != 1 {
		t.Errorf("pruned: %+v, %v, %d reads", g, err, reads.Load())
	}
	load.Whole = true
	if g, err = load.Load(t.Context(), roots); err != nil || reads.Load() != 4 || g.Go != "1.22" || len(g.Needed) != 2 || len(g.Files) != 3 {
		t.Errorf("whole: %+v, %v, %d reads", g, err, reads.Load())
	}
}

func TestLoadGoesOnWithoutWhatIsLeftOut(t *testing.T) {
	u, roots := readCase(t, "testdata/select/unpruned.txtar")
	delete(u, at("example.com/c@v1.0.0"))
	load := Loader{Read: u.read}
	g, err := load.Load(t.Context(), roots)
	if err != nil || g.Needed["example.com/d"] != "v1.0.0" || !g.Reaches(at("example.com/c@v1.0.0")) || g.Files[at("example.com/c@v1.0.0")] != nil {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestLoadEndsWithTheErrorOfAFile(t *testing.T) {
	u, roots := readCase(t, "testdata/select/unpruned.txtar")
	broken := errors.New("broken")
	load := Loader{AtOnce: 3, Read: func(ctx context.Context, m module.Version) (*File, error) {
		if m.Path == "example.com/c" {
			return nil, broken
		}
		return u.read(ctx, m)
	}}
	if g, err := load.Load(t.Context(), roots); !errors.Is(err, broken) || !g.Reaches(at("example.com/b@v1.0.0")) {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := load.Select(t.Context(), roots); !errors.Is(err, broken) {
		t.Errorf("Select: %v", err)
	}
}

func TestGraphsAreBounded(t *testing.T) {
	endless := func(_ context.Context, m module.Version) (*File, error) {
		var n int
		_, _ = fmt.Sscanf(m.Version, "v1.%d.0", &n)
		return &File{Path: m.Path, Require: []module.Version{{Path: m.Path, Version: fmt.Sprintf("v1.%d.0", n+1)}}}, nil
	}
	load := Loader{Read: endless, Limit: 50}
	g, err := load.Load(t.Context(), []module.Version{at("example.com/a@v1.0.0")})
	if !errors.Is(err, ErrTooLarge) || len(g.Files) != 51 || g.Needed["example.com/a"] != "v1.50.0" {
		t.Errorf("%d files, %v, %v", len(g.Files), g.Needed, err)
	}
	load.Read = func(ctx context.Context, m module.Version) (*File, error) { // a root that raises itself for ever
		f, err := endless(ctx, m)
		f.Go = "1.21"
		return f, err
	}
	if _, err := load.Select(t.Context(), []module.Version{at("example.com/a@v1.0.0")}); !errors.Is(err, ErrUnsettled) {
		t.Errorf("it settles: %v", err)
	}
}

func TestWhoRequiresAModule(t *testing.T) {
	u, roots := readCase(t, "testdata/select/unpruned.txtar")
	load := Loader{Read: u.read, Whole: true}
	g, err := load.Load(t.Context(), roots)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(g.RequiredBy(at("example.com/d@v1.1.0"))); got != "[example.com/c@v1.0.0]" {
		t.Errorf("d v1.1.0 is required by %s", got)
	}
	if got := fmt.Sprint(g.RootsTo(func(m module.Version) bool { return m.Path == "example.com/d" })); got != "[example.com/a@v1.0.0 example.com/n@v1.0.0]" {
		t.Errorf("to d lead %s", got)
	}
	if got := g.RootsTo(func(m module.Version) bool { return m == roots[0] }); got != nil {
		t.Errorf("to a root lead %v", got)
	}
}

func TestParseGraphCountsOnlyWhatTheRootsLeadTo(t *testing.T) {
	a, b := module.Version{Path: "example.com/a", Version: "v1.0.0"}, module.Version{Path: "example.com/b", Version: "v1.0.0"}
	g, err := ParseGraph([]module.Version{a}, strings.NewReader(`k6 example.com/a@v1.0.0
k6 example.com/other@v1.0.0
k6 go@1.26
example.com/a@v1.0.0 example.com/b@v1.0.0
example.com/a@v1.0.0 go@1.25
example.com/b@v1.0.0 example.com/a@v1.0.0
example.com/b@v1.0.0 example.com/c@v1.2.0
example.com/a@v1.0.0 example.com/c@v1.10.0
example.com/other@v1.0.0 example.com/d@v1.0.0

 nonsense
example.com/a@v1.0.0
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Selected(); got["example.com/c"] != "v1.10.0" || got["example.com/b"] != "v1.0.0" || len(got) != 3 {
		t.Errorf("selected %v", got)
	}
	for path, want := range map[string]bool{"example.com/c": true, "example.com/other": false, "example.com/d": false} {
		if got := g.Reaches(module.Version{Path: path, Version: map[bool]string{true: "v1.2.0", false: "v1.0.0"}[want]}); got != want {
			t.Errorf("%s is reached: %v", path, got)
		}
	}
	if who := g.RootsTo(func(m module.Version) bool { return m == b }); len(who) != 1 || who[0] != a {
		t.Errorf("b is needed by %v", who)
	}
	if _, err := ParseGraph(nil, strings.NewReader(strings.Repeat("x", 1<<20))); err == nil {
		t.Error("a line without end was taken")
	}
}

// A graph with far more edges than modules costs no more than its files.
func TestAGraphOfManyEdgesIsFollowedOnce(t *testing.T) {
	const layers, wide = 4, 300
	u := make(universe)
	name := func(layer, i int) module.Version { return ParseVersion(fmt.Sprintf("m%d.example/%d@v1.0.0", layer, i)) }
	for layer := range layers {
		for i := range wide {
			text := fmt.Sprintf("module %s\n", name(layer, i).Path) // without a go line, so that nothing is pruned
			for j := range wide {
				if layer+1 < layers {
					text += fmt.Sprintf("require %s %s\n", name(layer+1, j).Path, "v1.0.0")
				}
			}
			u[name(layer, i)] = text
		}
	}
	var reads atomic.Int64
	l := &Loader{AtOnce: 4, Read: func(ctx context.Context, m module.Version) (*File, error) {
		reads.Add(1)
		return u.read(ctx, m)
	}}
	var roots []module.Version
	for i := range wide {
		roots = append(roots, name(0, i))
	}
	g, err := l.Load(t.Context(), roots)
	if err != nil || len(g.Files) != layers*wide || reads.Load() != layers*wide {
		t.Errorf("%d files, %d reads, %v", len(g.Files), reads.Load(), err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	l.Read = u.read // which does not look at its context
	if _, err := l.Load(ended, roots); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

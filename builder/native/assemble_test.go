package native

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"k6x/internal/testmod"
)

// graphModules are extensions whose go.mod files raise each other's versions in all ways
// that there are. Each line: module@version, go line, what it imports, "|", what it requires beyond that.
var graphModules = []string{
	"example.com/base@v1.0.0 1.21",
	"example.com/base@v1.1.0 1.21",
	"example.com/base@v1.2.0 1.21",
	"example.com/base@v1.3.0 1.21",
	"example.com/base/sub@v1.0.0 1.21",
	"example.com/deep@v1.0.0 1.16 | example.com/base@v1.1.0",
	"example.com/old@v1.0.0 1.16 example.com/deep@v1.0.0", // not pruned: what deep requires counts
	"example.com/mid@v1.0.0 1.21 | example.com/base@v1.2.0",
	"example.com/far@v1.0.0 1.21 | example.com/base@v1.3.0",
	"example.com/near@v1.0.0 1.21 | example.com/far@v1.0.0", // pruned: what far requires does not count
	"example.com/xk6-a@v0.1.0 1.21 example.com/base@v1.0.0",
	"example.com/xk6-b@v0.1.0 1.22 example.com/old@v1.0.0 example.com/shed@v1.0.0",
	"example.com/xk6-c@v0.1.0 1.26 example.com/near@v1.0.0",
	"example.com/extra@v1.0.0 1.21",
	"example.com/shed@v1.0.0 1.23 example.com/extra@v1.0.0",
	"example.com/shed@v1.1.0 1.21",
	"example.com/lift@v1.0.0 1.21 | example.com/shed@v1.1.0", // seen once lift is a root: extra is left over, and go 1.23
	"example.com/xk6-d@v0.1.0 1.23.1 example.com/base/sub@v1.0.0 example.com/base@v1.0.0",
	"example.com/xk6-e@v0.1.0 1.21 example.com/mid@v1.0.0 example.com/shed@v1.0.0 example.com/lift@v1.0.0 | example.com/extra@v1.0.0",
}

// serveGraph serves graphModules and the stand-in k6.
func serveGraph(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	k6, err := os.ReadFile("../../testdata/standin/go.k6.io_k6_v1.0.0.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"go.k6.io_k6_v1.0.0.txtar": string(k6)}
	for _, line := range graphModules {
		words := strings.Fields(line)
		path, version, _ := strings.Cut(words[0], "@")
		goMod, imports, importing := "module "+path+"\n\ngo "+words[1]+"\n", "", true
		for _, word := range words[2:] {
			if word == "|" {
				importing = false
				continue
			}
			dep, v, _ := strings.Cut(word, "@")
			goMod += "require " + dep + " " + v + "\n"
			if importing {
				imports += fmt.Sprintf("import _ %q\n", dep)
			}
		}
		files[strings.ReplaceAll(path, "/", "_")+"_"+version+".txtar"] = fmt.Sprintf(
			"-- .mod --\n%s-- .info --\n{\"Version\":%q}\n-- go.mod --\n%s-- x.go --\npackage x\n\n%s\nvar Version = %q\n\nfunc init() { println(Version) }\n",
			goMod, version, goMod, imports, words[0])
	}
	files["example.com_shed_v1.0.0.txtar"] += "-- x.s --\n" // which only the go command compiles
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return testmod.Serve(t, dir)
}

// Whatever is assembled is what go build makes of the same recipe, with the same lock.
func TestAssembledBinaryIsThatOfGoBuild(t *testing.T) {
	tool := standinTool(t, serveGraph(t))
	var log bytes.Buffer
	cfg := Config{Tool: tool, Dir: warmDir(t), ConfirmLater: true, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	e := newEngine(t, cfg)
	// The reference has the same caches, but no kits: it always runs go build.
	reference := newEngine(t, Config{Tool: tool, Dir: emptyDir(t)})
	reference.dirs, reference.mods = e.dirs, e.mods

	names := []string{"a", "b", "c", "d", "e"}
	sets := func(yield func([]string) bool) {
		for mask := range 1 << len(names) {
			var set []string
			for i, name := range names {
				if mask&(1<<i) != 0 {
					set = append(set, name+"@v0.1.0")
				}
			}
			if !yield(set) {
				return
			}
		}
	}
	assembled := 0
	for set := range sets {
		log.Reset()
		binary, report := build(t, e, e.recipe("v1.0.0", set...), nil)
		if !strings.Contains(log.String(), "left to go build") {
			assembled++
		}
		if strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%v: %s", set, &log)
		}
		reference.kits.forget()
		truth, wanted := build(t, reference, reference.recipe("v1.0.0", set...), nil)
		if !bytes.Equal(binary, truth) {
			t.Errorf("%v: go build makes another binary", set)
		}
		if report.Lock != wanted.Lock {
			t.Errorf("%v: lock\n%s\n%s\nnot\n%s\n%s", set, report.Lock.GoMod, report.Lock.GoSum, wanted.Lock.GoMod, wanted.Lock.GoSum)
		}
	}
	if assembled == 0 {
		t.Error("nothing was assembled")
	}
	t.Logf("%d of %d sets were assembled when they were new", assembled, 1<<len(names))

	// After a restart as well, and what was compiled is enough.
	e = newEngine(t, cfg)
	for set := range sets {
		log.Reset()
		_, report := build(t, e, e.recipe("v1.0.0", set...), nil)
		if log.Len() > 0 {
			t.Errorf("%v: %s", set, &log)
		}
		if len(set) >= len(names)-1 { // the lock that was written is enough for the go command
			build(t, e, e.recipe("v1.0.0", set...), &report.Lock)
		}
	}
}

// What cannot be planned, as versions are selected on the way that nobody compiled, is learned
// all the same.
func TestPackagesOfWhatCannotBePlannedAreKnown(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Tool: standinTool(t, serveGraph(t)), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	e := newEngine(t, cfg)
	e.kits.forget()
	defer e.kits.forget()
	recipe := e.recipe("v1.0.0", "e@v0.1.0")
	build(t, e, recipe, nil)
	if k := openKit(e.kits.of(recipe).file); k.Proven || len(k.Archives) == 0 || log.Len() > 0 {
		t.Errorf("proven: %v, %d packages\n%s", k.Proven, len(k.Archives), &log)
	}
}

// What is damaged, trimmed or wrong costs a go build, and nothing else.
func TestDamageIsLeftToGoBuild(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	e := newEngine(t, cfg)
	recipe := e.recipe("v1.1.0", "hello@v0.1.0")
	truth, wanted := build(t, e, recipe, nil)
	file := e.kits.of(recipe).file
	onFile := func(change func(t *testing.T)) func(t *testing.T, k *kit) {
		return func(t *testing.T, k *kit) {
			change(t)
			e.kits.mu.Lock()
			e.kits.all = nil // as after a restart
			e.kits.mu.Unlock()
		}
	}
	write := func(text string) func(*testing.T) {
		return func(t *testing.T) {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		damage func(*testing.T, *kit)
		left   bool
	}{
		"nothing":         {func(*testing.T, *kit) {}, false},
		"kit file torn":   {onFile(write(`{"Proven":true,"Pack`)), true},
		"kit file empty":  {onFile(write("")), true},
		"kit file lacks":  {onFile(write(`{"Proven":true,"Packages":{}}`)), true},
		"no go.sum lines": {func(_ *testing.T, k *kit) { k.GoSum = "" }, true},
		"no sums":         {func(_ *testing.T, k *kit) { clear(k.Sums) }, true},
		"another setting": {func(_ *testing.T, k *kit) {
			for v, info := range k.Info {
				k.Info[v] = strings.Replace(info, "-trimpath=true", "-trimpath=false", 1)
			}
		}, true},
		"standard package trimmed": {func(_ *testing.T, k *kit) { k.Std["plugin"] = archive{File: "00/gone-d", Size: 1} }, false},
		"archive truncated": {func(t *testing.T, k *kit) {
			for _, a := range k.Archives {
				file := filepath.Join(e.dirs.Cache, a.File)
				if err := os.Chmod(file, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(file, a.Size-1); err != nil {
					t.Fatal(err)
				}
			}
		}, true},
		"archive elsewhere": {func(t *testing.T, k *kit) {
			for id, a := range k.Archives {
				k.Archives[id] = archive{File: "../gocache/" + a.File, Size: a.Size}
			}
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e.kits.forget()
			build(t, e, recipe, nil)
			k := e.kits.of(recipe)
			if !k.Proven {
				t.Fatal("nothing was learned")
			}
			test.damage(t, k)
			log.Reset()
			binary, report := build(t, e, recipe, nil)
			if left := strings.Contains(log.String(), "left to go build"); left != test.left {
				t.Errorf("left to go build: %v\n%s", left, &log)
			}
			if !bytes.Equal(binary, truth) || report.Lock != wanted.Lock {
				t.Errorf("another binary or lock:\n%s%s", report.Lock.GoMod, report.Lock.GoSum)
			}
			log.Reset()
			build(t, e, recipe, nil)
			if log.Len() > 0 {
				t.Errorf("the next one: %s", &log)
			}
		})
	}
}

// A build that still uses a kit when the kits are forgotten does not bring it back.
func TestForgottenKitStaysForgotten(t *testing.T) {
	e := newEngine(t, Config{Dir: emptyDir(t)})
	recipe := e.recipe("v1.0.0")
	k := e.kits.of(recipe)
	e.kits.forget()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(k.file); !os.IsNotExist(err) {
		t.Errorf("its file: %v", err)
	}
}

// While the go command extracts a module, nobody knows what is not in it.
func TestModuleThatIsBeingExtractedIsUnknown(t *testing.T) {
	dir := t.TempDir()
	s := &selection{modCache: dir}
	m := module.Version{Path: "example.com/M", Version: "v1.0.0"}
	if err := os.MkdirAll(filepath.Join(dir, "example.com", "!m@v1.0.0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.lacks(m, "example.com/M/pkg"); err != nil {
		t.Error(err)
	}
	at := filepath.Join(dir, "cache", "download", "example.com", "!m", "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "v1.0.0.partial"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.lacks(m, "example.com/M/pkg"); err == nil {
		t.Error("it is said to lack a package")
	}
}

package fast

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"k6x/builder"
	"k6x/internal/gomod"
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
	"example.com/xk6-f@v0.1.0 1.21 example.com/base@v1.0.0",
}

// serveGraph serves graphModules and a bare k6.
func serveGraph(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"go.k6.io_k6_v1.0.0.txtar": "-- go.mod --\nmodule go.k6.io/k6\n\ngo 1.21\n" + testmod.Bare}
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
	url, dir := serveGraph(t), warmDir(t)
	e := newEngine(t, url, dir, builder.Resident)
	reference := newNative(t, url, dir, nil) // which always runs go build

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
		e.log.Reset()
		binary, report := makeBinary(t, e, e.recipe("v1.0.0", set...), nil)
		if !strings.Contains(e.log.String(), "left to go build") {
			assembled++
		}
		if strings.Contains(e.log.String(), "level=WARN") {
			t.Errorf("%v: %s", set, e.log)
		}
		truth, wanted := makeBinary(t, reference, e.recipe("v1.0.0", set...), nil)
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
	e = newEngine(t, url, dir, builder.Resident)
	for set := range sets {
		e.log.Reset()
		_, report := makeBinary(t, e, e.recipe("v1.0.0", set...), nil)
		if e.log.String() != "" {
			t.Errorf("%v: %s", set, e.log)
		}
		if len(set) >= len(names)-1 { // the lock that was written is enough for the go command
			makeBinary(t, e, e.recipe("v1.0.0", set...), &report.Lock)
		}
	}
}

// What cannot be planned, as versions are selected on the way that nobody compiled, is learned
// all the same.
func TestPackagesOfWhatCannotBePlannedAreKnown(t *testing.T) {
	e := newEngine(t, serveGraph(t), warmDir(t), builder.Batch)
	recipe := e.recipe("v1.0.0", "e@v0.1.0")
	makeBinary(t, e, recipe, nil)
	if x := openIndex(e.indexes.of(recipe).file); x.Proven || len(x.Archives) == 0 || strings.Contains(e.log.String(), "level=WARN") {
		t.Errorf("proven: %v, %d packages\n%s", x.Proven, len(x.Archives), e.log)
	}
}

// What is damaged, trimmed or wrong costs a go build, and nothing else.
func TestDamageIsLeftToGoBuild(t *testing.T) {
	if os.Getenv("K6X_TEST_FULL") == "" {
		t.Skip("SKIPPED: it takes long, and is left to K6X_TEST_FULL=1")
	}
	e := newEngine(t, standin(t), sharedDir, builder.Batch)
	recipe := e.recipe("v1.1.0", "hello@v0.1.0")
	truth, wanted := makeBinary(t, e, recipe, nil)
	file := e.indexes.of(recipe).file
	onFile := func(change func(t *testing.T)) func(t *testing.T, x *index) {
		return func(t *testing.T, x *index) {
			change(t)
			e.indexes.mu.Lock()
			e.indexes.all = nil // as after a restart
			e.indexes.mu.Unlock()
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
		damage func(*testing.T, *index)
		left   bool
	}{
		"nothing":          {func(*testing.T, *index) {}, false},
		"index file torn":  {onFile(write(`{"Proven":true,"Pack`)), true},
		"index file empty": {onFile(write("")), true},
		"index file lacks": {onFile(write(`{"Proven":true,"Packages":{}}`)), true},
		"no go.sum lines":  {func(_ *testing.T, x *index) { x.GoSum = "" }, true},
		"no sums":          {func(_ *testing.T, x *index) { clear(x.Sums) }, true},
		"another setting": {func(_ *testing.T, x *index) {
			for v, info := range x.Info {
				x.Info[v] = strings.Replace(info, "-trimpath=true", "-trimpath=false", 1)
			}
		}, true},
		"standard package trimmed": {func(_ *testing.T, x *index) { x.Std["plugin"] = archive{File: "00/gone-d", Size: 1} }, false},
		"archive truncated": {func(t *testing.T, x *index) {
			for _, a := range x.Archives {
				file := filepath.Join(e.builds, a.File)
				if err := os.Chmod(file, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(file, a.Size-1); err != nil {
					t.Fatal(err)
				}
			}
		}, true},
		"archive elsewhere": {func(t *testing.T, x *index) {
			for id, a := range x.Archives {
				x.Archives[id] = archive{File: "../gocache/" + a.File, Size: a.Size}
			}
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e.indexes.forget()
			makeBinary(t, e, recipe, nil)
			x := e.indexes.of(recipe)
			if !x.Proven {
				t.Fatal("nothing was learned")
			}
			test.damage(t, x)
			e.log.Reset()
			binary, report := makeBinary(t, e, recipe, nil)
			if left := strings.Contains(e.log.String(), "left to go build"); left != test.left {
				t.Errorf("left to go build: %v\n%s", left, e.log)
			}
			if !bytes.Equal(binary, truth) || report.Lock != wanted.Lock {
				t.Errorf("another binary or lock:\n%s%s", report.Lock.GoMod, report.Lock.GoSum)
			}
			e.log.Reset()
			makeBinary(t, e, recipe, nil)
			if e.log.String() != "" {
				t.Errorf("the next one: %s", e.log)
			}
		})
	}
}

// A build that still uses an index when the indexes are forgotten does not bring it back.
func TestForgottenIndexStaysForgotten(t *testing.T) {
	e := newEngine(t, "off", emptyDir(t), builder.Batch)
	recipe := e.recipe("v1.0.0")
	x := e.indexes.of(recipe)
	e.indexes.forget()
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(x.file); !os.IsNotExist(err) {
		t.Errorf("its file: %v", err)
	}
}

// While the go command extracts a module, nobody knows what is not in it.
func TestModuleThatIsBeingExtractedIsUnknown(t *testing.T) {
	dir := t.TempDir()
	s := &selection{mods: &gomod.Cache{Dir: dir}, index: new(index)}
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

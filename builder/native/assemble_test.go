package native

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	"example.com/xk6-b@v0.1.0 1.22 example.com/old@v1.0.0",
	"example.com/xk6-c@v0.1.0 1.24 example.com/near@v1.0.0",
	"example.com/xk6-d@v0.1.0 1.21 example.com/base/sub@v1.0.0 example.com/base@v1.0.0",
	"example.com/xk6-e@v0.1.0 1.23.1 example.com/mid@v1.0.0",
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
	cfg := Config{Tool: tool, Dir: emptyDir(t), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
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

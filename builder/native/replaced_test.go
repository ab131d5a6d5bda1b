package native

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/event"
)

// directory writes files, given as name and text, into a directory with blanks in its name.
func directory(t *testing.T, files ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "my own code")
	for i := 0; i < len(files); i += 2 {
		file := filepath.Join(dir, filepath.FromSlash(files[i]))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// extension writes an extension that registers name.
func extension(t *testing.T, path, name, k6 string, more ...string) string {
	t.Helper()
	return directory(t, append([]string{
		"go.mod", "module " + path + "\n\ngo 1.21\n\nrequire go.k6.io/k6 " + k6 + "\n",
		"ext.go", "// Package ext is an extension.\npackage ext\n\nimport \"go.k6.io/k6/js/modules\"\n\ntype module struct{}\n\n" +
			"func init() { modules.Register(\"" + name + "\", new(module)) }\n",
	}, more...)...)
}

// mine returns a recipe with the module of an extension that has no version.
func (e *Engine) mine(k6, path string, others ...string) k6x.Recipe {
	recipe := e.recipe(k6, others...)
	recipe.Extensions = append(recipe.Extensions, k6x.Module{Path: path, Names: []string{"k6/x/mine"}})
	slices.SortFunc(recipe.Extensions, func(a, b k6x.Module) int { return strings.Compare(a.Path, b.Path) })
	return recipe
}

func replace(t *testing.T, e *Engine, recipe k6x.Recipe, by ...Replacement) (says string, report ReplacedBuild) {
	t.Helper()
	var buf bytes.Buffer
	report, err := e.BuildReplaced(t.Context(), recipe, by, nil, &buf)
	if err != nil {
		t.Fatalf("%v\n%s", err, k6x.AsError(err).Output)
	}
	return versionOf(t, buf.Bytes()), report
}

func TestBuildReplacedTakesTheCodeOfADirectory(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0", "hello@v0.1.0", "world@v0.1.0")
	before, _ := build(t, e, recipe, nil)

	dir := extension(t, "example.com/xk6-hello", "k6/x/mine", "v1.0.0")
	says, report := replace(t, e, recipe, Replacement{Path: "example.com/xk6-hello", Dir: dir})
	if !strings.Contains(says, "k6/x/mine") || strings.Contains(says, "k6/x/hello") || !strings.Contains(says, "k6/x/world") {
		t.Errorf("it says %s", says)
	}
	if len(report.Replaced) != 1 || report.Replaced[0].String() != "example.com/xk6-hello => "+dir || len(report.Raised) > 0 {
		t.Errorf("it is %v, %v", report.Replaced, report.Raised)
	}
	if report.Lock != (k6x.Lock{}) || report.Toolchain != recipe.Toolchain || report.Duration <= 0 || len(report.BuildList) != 4 {
		t.Errorf("report %+v", report)
	}

	changed := strings.Replace(read(t, filepath.Join(dir, "ext.go")), "k6/x/mine", "k6/x/changed", 1)
	if err := os.WriteFile(filepath.Join(dir, "ext.go"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	if says, _ = replace(t, e, recipe, Replacement{Path: "example.com/xk6-hello", Dir: dir}); !strings.Contains(says, "k6/x/changed") {
		t.Errorf("after a change it says %s", says)
	}
	if after, _ := build(t, e, recipe, nil); !bytes.Equal(before, after) {
		t.Error("a build with replacements changes what others get")
	}
	if text := read(t, filepath.Join(dir, "go.mod")); strings.Contains(text, "world") {
		t.Errorf("the go.mod of the directory was changed:\n%s", text)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBuildReplacedTakesAModuleThatNoRegistryKnows(t *testing.T) {
	e := newEngine(t, Config{})
	for _, path := range []string{"corp.internal/team/xk6-mine", "corp.internal/team/xk6-mine/v3"} {
		dir := extension(t, path, "k6/x/mine", "v1.0.0")
		says, report := replace(t, e, e.mine("v1.0.0", path, "hello@v0.1.0"), Replacement{Path: path, Dir: dir})
		if !strings.Contains(says, "k6/x/mine") || !strings.Contains(says, "k6/x/hello") || len(report.Raised) > 0 {
			t.Errorf("it says %s, raised %v", says, report.Raised)
		}
	}
}

func TestBuildReplacedTakesAnotherModule(t *testing.T) {
	e := newEngine(t, Config{})
	by := Replacement{Path: "example.com/xk6-hello", With: module.Version{Path: "example.com/xk6-hello", Version: "v0.2.1"}}
	says, report := replace(t, e, e.recipe("v1.0.0", "hello@v0.1.0"), by)
	if !strings.Contains(says, "k6/x/hello") || report.Replaced[0].String() != "example.com/xk6-hello => example.com/xk6-hello@v0.2.1" {
		t.Errorf("it is %v and says %s", report.Replaced, says)
	}
	if i := slices.IndexFunc(report.BuildList, func(m k6x.Linked) bool { return m.Path == by.Path }); report.BuildList[i].Version != "v0.2.1" ||
		!strings.HasPrefix(report.BuildList[i].Sum, "h1:") {
		t.Errorf("build list %v", report.BuildList)
	}
}

func TestBuildReplacedTakesAnotherK6AndAnotherDependency(t *testing.T) {
	e := newEngine(t, Config{})
	archive, err := txtar.ParseFile("../../testdata/standin/go.k6.io_k6_v1.0.0.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range archive.Files {
		files = append(files, f.Name, strings.Replace(string(f.Data), "k6 v1.0.0 (", "k6 of mine (", 1))
	}
	k6 := directory(t, files...)
	greeting := directory(t, "go.mod", "module example.com/greeting\n", "a.go", "package greeting\n\nfunc Hello() string { return \"\" }\n")
	recipe := e.recipe("v1.0.0", "world@v0.1.0")
	recipe.K6.Version = "" // an unreleased one has none
	says, report := replace(t, e, recipe, Replacement{Path: "go.k6.io/k6", Dir: k6}, Replacement{Path: "example.com/greeting", Dir: greeting})
	if !strings.HasPrefix(says, "k6 of mine (") || !strings.Contains(says, "k6/x/world") {
		t.Errorf("it says %s", says)
	}
	if len(report.Replaced) != 2 || report.Replaced[0].Path != "example.com/greeting" || len(report.Raised) > 0 {
		t.Errorf("%v, %v", report.Replaced, report.Raised)
	}
}

func TestBuildReplacedTellsWhatIsRaised(t *testing.T) {
	e := newEngine(t, Config{})
	dir := extension(t, "example.com/xk6-mine", "k6/x/mine", "v1.1.0")
	says, report := replace(t, e, e.mine("v1.0.0", "example.com/xk6-mine", "hello@v0.1.0"), Replacement{Path: "example.com/xk6-mine", Dir: dir})
	if !strings.HasPrefix(says, "k6 v1.1.0 ") {
		t.Errorf("it says %s", says)
	}
	want := "k6 is v1.1.0 instead of v1.0.0, as k6/x/mine (example.com/xk6-mine => " + dir + ") needs it"
	if len(report.Raised) != 1 || report.Raised[0].String() != want {
		t.Errorf("raised: %v, want %s", report.Raised, want)
	}
}

func TestBuildReplacedIsWatched(t *testing.T) {
	e := newEngine(t, Config{})
	dir := extension(t, "example.com/xk6-mine", "k6/x/mine", "v1.0.0")
	sink, seen := watched()
	if _, err := e.BuildReplaced(t.Context(), e.mine("v1.0.0", "example.com/xk6-mine"), []Replacement{{Path: "example.com/xk6-mine", Dir: dir}}, sink, io.Discard); err != nil {
		t.Fatal(err)
	}
	wantForward(t, *seen)
	if got := steps(*seen); !slices.Contains(got, event.Compiling) || !slices.Contains(got, event.Linking) {
		t.Errorf("steps %v", got)
	}
}

func TestBuildReplacedSaysWhatIsWrongWithTheCode(t *testing.T) {
	e := newEngine(t, Config{})
	const path = "example.com/xk6-mine"
	for name, c := range map[string]struct {
		dir    string
		kind   k6x.Kind
		says   []string // "DIR" is the directory
		output string
	}{
		"it does not compile": {extension(t, path, "k6/x/mine", "v1.0.0", "sub/bad.go", "package sub\n\nvar X = undefined\n", "use.go", "package ext\n\nimport _ \""+path+"/sub\"\n"),
			k6x.BuildFailed, []string{"k6/x/mine (" + path + " => DIR) does not compile:\n# " + path + "/sub\nsub/bad.go:3:9: undefined: undefined"}, "\nsub/bad.go:3:9: "},
		"its go.mod is untidy": {extension(t, path, "k6/x/mine", "v1.0.0", "use.go", "package ext\n\nimport _ \"example.com/greeting\"\n"),
			k6x.BuildFailed, []string{"k6/x/mine (" + path + " => DIR) imports example.com/greeting, which none", "Run go mod tidy in DIR."}, "finding module"},
		"it needs a newer Go": {directory(t, "go.mod", "module "+path+"\n\ngo 1.99\n", "a.go", "package a\n"),
			k6x.Conflict, []string{"needs Go 1.99"}, ""},
		"it is for another k6": {directory(t, "go.mod", "module "+path+"\n\nrequire go.k6.io/k6/v2 v2.0.0\n", "a.go", "package a\n\nimport _ \"go.k6.io/k6/v2/js/modules\"\n"),
			k6x.Conflict, []string{"k6/x/mine (" + path + " => DIR) is made for go.k6.io/k6/v2 and would do nothing in k6 (go.k6.io/k6@v1.0.0)"}, ""},
		"it is a program": {directory(t, "go.mod", "module "+path+"\n", "a.go", "package main\n\nfunc main() {}\n"),
			k6x.BuildFailed, []string{"k6/x/mine (" + path + " => DIR) is a program"}, "not an importable"},
		"it has no files for the platform": {directory(t, "go.mod", "module "+path+"\n", "a.go", "//go:build none\n\npackage a\n"),
			k6x.BuildFailed, []string{"has no Go files for "}, "build constraints"},
		"it needs what there is not": {directory(t, "go.mod", "module "+path+"\n\nrequire example.com/nowhere v1.0.0\n", "a.go", "package a\n\nimport _ \"example.com/nowhere\"\n"),
			k6x.NotFound, []string{"example.com/nowhere@v1.0.0, which k6/x/mine (" + path + " => DIR) needs, is not to be found"}, ""},
		"it has no package at its root": {directory(t, "go.mod", "module "+path+"\n", "sub/a.go", "package a\n"),
			k6x.BuildFailed, []string{"k6/x/mine (" + path + " => DIR) is no extension"}, "DIR"},
	} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			_, err := e.BuildReplaced(t.Context(), e.mine("v1.0.0", path), []Replacement{{Path: path, Dir: c.dir}}, nil, &buf)
			failure := k6x.AsError(err)
			if err == nil || failure.Kind != c.kind || buf.Len() > 0 {
				t.Fatalf("got %v\n%s", err, failure.Output)
			}
			said := failure.Message + "\n" + failure.Hint
			for _, part := range c.says {
				if part = strings.ReplaceAll(part, "DIR", c.dir); !strings.Contains(said, part) {
					t.Errorf("it says\n%s\nwant\n%s", said, part)
				}
			}
			if !strings.Contains(failure.Output, strings.ReplaceAll(c.output, "DIR", "")) {
				t.Errorf("output\n%s\nwant %s", failure.Output, c.output)
			}
			if strings.Contains(said, cacheDir) || strings.Contains(said, "v0.0.0-0001") {
				t.Errorf("it says what nobody asked for:\n%s", said)
			}
		})
	}
}

func TestBuildReplacedRefusesWhatCannotReplace(t *testing.T) {
	e := newEngine(t, Config{})
	good := extension(t, "example.com/xk6-hello", "k6/x/hello", "v1.0.0")
	const hello = "example.com/xk6-hello"
	for name, c := range map[string]struct {
		by   []Replacement
		says string
	}{
		"nothing":             {nil, "no module to replace"},
		"a relative path":     {[]Replacement{{Path: hello, Dir: "sub"}}, "not an absolute path"},
		"no go.mod":           {[]Replacement{{Path: hello, Dir: t.TempDir()}}, "whose go.mod cannot be read"},
		"a broken go.mod":     {[]Replacement{{Path: hello, Dir: directory(t, "go.mod", "module a\nrequire (\n")}}, "go.mod:2"},
		"neither":             {[]Replacement{{Path: hello}}, "is not a module"},
		"a bad version":       {[]Replacement{{Path: hello, With: module.Version{Path: hello, Version: "main"}}}, "is not a module"},
		"no path":             {[]Replacement{{Path: "a b", Dir: good}}, "not a module that can be replaced"},
		"twice":               {[]Replacement{{Path: hello, Dir: good}, {Path: hello, Dir: t.TempDir()}}, "twice"},
		"what is not in it":   {[]Replacement{{Path: "example.com/greeting", Dir: good}}, "nothing of the module example.com/greeting is in the binary"},
		"and something is in": {[]Replacement{{Path: hello, Dir: good}, {Path: "example.com/x", Dir: good}}, "nothing of the module example.com/x is"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.BuildReplaced(t.Context(), e.recipe("v1.0.0", "hello@v0.1.0"), c.by, nil, io.Discard)
			if k6x.KindOf(err) != k6x.Invalid || err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
		})
	}
	recipe := e.mine("v1.0.0", "example.com/xk6-mine")
	if _, err := e.BuildReplaced(t.Context(), recipe, []Replacement{{Path: hello, Dir: good}}, nil, io.Discard); k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("a module without a version that is not replaced: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.BuildReplaced(ctx, recipe, []Replacement{{Path: "example.com/xk6-mine", Dir: good}}, nil, io.Discard); k6x.KindOf(err) != k6x.Canceled {
		t.Errorf("canceled: %v", err)
	}
}

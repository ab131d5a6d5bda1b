package fast

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
)

const (
	odd   = "example.com/xk6-odd@v0.1.0"
	alias = "example.com/xk6-alias@v0.1.0"
)

// oddModules are extensions that this engine takes otherwise than the go command does once it is mistaken, and others.
func oddModules() map[string]string {
	return map[string]string{
		odd:                            "-- a.go --\npackage odd\n\nfunc init() { println(name) }\n-- b.go --\n//go:build odd\n\npackage odd\n\nconst name = \"odd\"\n-- c.go --\n//go:build !odd\n\npackage odd\n\nconst name = \"even\"\n",
		alias:                          requiring("example.com/other") + emptyPackage,
		"example.com/xk6-a@v0.1.0":     emptyPackage,
		"example.com/xk6-b@v0.1.0":     emptyPackage,
		"example.com/xk6-c@v0.1.0":     emptyPackage,
		"example.com/xk6-first@v0.1.0": emptyPackage,
	}
}

// mistake makes e believe that there is another build tag, and that alias calls itself so.
func (e engine) mistake() {
	x := e.indexes.of(e.recipe("v1.0.0"))
	x.Tags.Tool = append(x.Tags.Tool, "odd")
	path, version, _ := strings.Cut(alias, "@")
	if f := e.mods.GoMod(module.Version{Path: path, Version: version}); f != nil {
		f.Path = path
	}
}

// The module that the go command takes otherwise is left to it, and nothing else is.
func TestModuleThatGoBuildTakesOtherwiseIsLeftToIt(t *testing.T) {
	url, dir := serveModules(t, oddModules()), emptyDir(t)
	e := newCompiling(t, url, dir)
	e.must(t, false, "first@v0.1.0")
	_, _, _ = e.ask(t, "alias@v0.1.0") // downloads it
	e.mistake()
	wrong := e.must(t, true, "odd@v0.1.0")
	e.wantReport(t, "odd@v0.1.0", odd)
	e.must(t, true, "alias@v0.1.0")
	e.wantReport(t, "alias@v0.1.0", alias)
	if n := e.wrong.Load(); n != 2 {
		t.Errorf("%d builds are refuted, want 2", n)
	}
	if right := e.must(t, false, "odd@v0.1.0"); string(right) == string(wrong) {
		t.Error("the same binary")
	}
	if binary, _, err := e.ask(t, "alias@v0.1.0"); k6x.KindOf(err) != k6x.NotFound || len(binary) > 0 {
		t.Errorf("%d bytes, %v\n%s", len(binary), err, e.log)
	}
	e.must(t, true, "a@v0.1.0") // the index is in use
	e.must(t, false, "a@v0.1.0", "odd@v0.1.0")

	again := newCompiling(t, url, dir)
	again.must(t, true, "a@v0.1.0", "b@v0.1.0")
	again.must(t, false, "b@v0.1.0", "odd@v0.1.0")

	// What was refused or made otherwise is tried again if the operator says so.
	files, err := os.ReadDir(again.indexes.refutedDir())
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.RemoveAll(again.indexes.refutedDir()); err != nil {
		t.Fatal(err)
	}
	again.must(t, true, "c@v0.1.0", "odd@v0.1.0")
}

// wantReport fails if the log does not say what was answered wrongly, and why.
func (e engine) wantReport(t *testing.T, extension, module string) {
	t.Helper()
	recipe := e.recipe("v1.0.0", extension)
	var report string
	for line := range strings.Lines(e.log.String()) {
		if strings.Contains(line, "level=ERROR") {
			report += line
		}
	}
	for _, want := range []string{"is not what the go command makes", recipe.Path(), recipe.Key(), module} {
		if !strings.Contains(report, want) {
			t.Errorf("no %s in %q", want, report)
		}
	}
}

// wantReason fails if the last build was not left to go build for a reason.
func (e engine) wantReason(t *testing.T, reason string) {
	t.Helper()
	if !strings.Contains(e.log.String(), reason) {
		t.Errorf("no %q in\n%s", reason, e.log)
	}
}

// A module that the index knows is not at fault if there is another.
func TestWhoIsAtFaultIsUnknown(t *testing.T) {
	x := &index{indexData: indexData{Sums: map[string]string{"example.com/k6@v1.0.0": "h1:"}}}
	packageOf := func(path, version string) *source {
		return &source{module: module.Version{Path: path, Version: version}}
	}
	k6, new, newer := packageOf("example.com/k6", "v1.0.0"), packageOf("example.com/new", "v1.0.0"), packageOf("example.com/k6", "v1.1.0")
	for want, list := range map[string][]*source{
		"":                      nil,
		"example.com/k6@v1.0.0": {k6, k6},
		"example.com/k6@v1.1.0 example.com/new@v1.0.0": {k6, newer, new, new},
	} {
		if got := strings.Join(suspects(x, list), " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// miscount makes e select another go version than the go command does, if it looks at module.
func (e engine) miscount(t *testing.T, m module.Version) {
	t.Helper()
	x := e.indexes.of(e.recipe("v1.0.0"))
	for _, info := range x.Info {
		x.Info["1.25.99"] = info
	}
	f := e.mods.GoMod(m)
	if f == nil {
		t.Fatalf("%s is not here", m)
	}
	f.Go = "1.25.99"
}

// If go build selects otherwise among what is known, the index is refuted; if among what is new, only that.
func TestIndexIsRefutedByWhatItKnows(t *testing.T) {
	e := newCompiling(t, serveModules(t, oddModules()), emptyDir(t))
	e.must(t, false, "first@v0.1.0")
	e.must(t, true, "a@v0.1.0")
	e.must(t, true, "b@v0.1.0")

	b := module.Version{Path: "example.com/xk6-b", Version: "v0.1.0"}
	e.miscount(t, b)
	x := e.indexes.of(e.recipe("v1.0.0"))
	delete(x.Sums, b.String())        // as if it were new
	x.Archives = map[string]archive{} // so that go build is run
	e.must(t, false, "b@v0.1.0")
	e.must(t, false, "b@v0.1.0")
	e.wantReason(t, b.String()+" is refuted")
	e.must(t, false, "a@v0.1.0", "first@v0.1.0") // compiles all anew
	e.must(t, true, "a@v0.1.0")

	e.miscount(t, gobuild.Pins(e.recipe("v1.0.0"))[0])
	x.Archives = map[string]archive{}
	for range 2 {
		e.must(t, false, "a@v0.1.0")
	}
	e.wantReason(t, x.name()+" is refuted")
	if n := e.wrong.Load(); n != 0 {
		t.Errorf("%d builds are refuted", n)
	}
}

// An index that has proven nothing yet is not switched off by the first module that go build selects otherwise: it begins anew without it.
func TestFirstModuleIsAtFaultAndNotThePlatform(t *testing.T) {
	e := newCompiling(t, serveModules(t, oddModules()), emptyDir(t))
	e.must(t, false, "first@v0.1.0")
	e.must(t, true, "b@v0.1.0")
	b := module.Version{Path: "example.com/xk6-b", Version: "v0.1.0"}
	e.miscount(t, b)
	x := e.indexes.of(e.recipe("v1.0.0"))
	delete(x.Sums, b.String())        // as if it were new
	x.Archives = map[string]archive{} // so that go build is run
	x.Proven = false
	e.must(t, false, "b@v0.1.0")
	refuted, err := e.indexes.readRefuted()
	if err != nil || !refuted.has(b.String()) || refuted.has(x.name()) {
		t.Errorf("refuted are %v, %v", refuted, err)
	}
	e.must(t, false, "first@v0.1.0") // proves the new index
	e.must(t, true, "a@v0.1.0")
}

// Two processes on a directory keep each other's refutations, whichever writes its index last.
func TestRefutationsAreThoseOfAllProcesses(t *testing.T) {
	url, dir := serveModules(t, oddModules()), emptyDir(t)
	one := newCompiling(t, url, dir)
	one.must(t, false, "first@v0.1.0")
	two := newCompiling(t, url, dir)
	two.must(t, true, "first@v0.1.0") // has read the index

	one.mistake()
	one.must(t, true, "odd@v0.1.0")
	two.must(t, true, "a@v0.1.0") // writes its index
	two.must(t, false, "odd@v0.1.0")
	two.wantReason(t, odd+" is refuted")
	newCompiling(t, url, dir).must(t, false, "a@v0.1.0", "odd@v0.1.0")

	one.miscount(t, gobuild.Pins(one.recipe("v1.0.0"))[0])
	x := one.indexes.of(one.recipe("v1.0.0"))
	x.Archives = map[string]archive{}
	one.must(t, false, "first@v0.1.0") // refutes the index
	two.must(t, false, "b@v0.1.0")
	two.wantReason(t, x.name()+" is refuted")
	x = two.indexes.of(two.recipe("v1.0.0"))
	x.mu.Lock()
	err := x.save()
	x.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	two.indexes.forget()
	newCompiling(t, url, dir).must(t, false, "c@v0.1.0")
}

// What cannot be written is known to this process, at least.
func TestRefutationThatCannotBeWrittenHolds(t *testing.T) {
	x := &indexes{dir: filepath.Join(t.TempDir(), "file")}
	if err := os.WriteFile(x.dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := x.refute(odd); err == nil {
		t.Error("it was written")
	}
	if err := os.Remove(x.dir); err != nil {
		t.Fatal(err)
	}
	r, err := x.readRefuted()
	if err != nil || !r.has(odd) || r.has(alias) {
		t.Errorf("%v, %v", r, err)
	}
}

// With more than can be believed, all is left to go build.
func TestRefutationsAreBounded(t *testing.T) {
	x := &indexes{dir: t.TempDir()}
	for i := range maxRefuted + 1 {
		if _, err := x.readRefuted(); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if _, err := x.refute(odd + strings.Repeat("0", i)); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := x.readRefuted(); err == nil {
		t.Errorf("%d are believed", len(r))
	}
}

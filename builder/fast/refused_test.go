package fast

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/internal/testmod"
)

// serveModules serves a bare k6 v1.0.0 and modules of some files each, as [testmod.ServeFiles] has them.
func serveModules(t *testing.T, modules map[string]string) (url string) {
	t.Helper()
	modules = maps.Clone(modules)
	modules["go.k6.io/k6@v1.0.0"] = testmod.Bare
	return testmod.ServeFiles(t, modules)
}

// newCompiling returns an engine that compiles packages which it has no index for. Its build cache is that of all tests.
func newCompiling(t *testing.T, url, dir string) engine {
	t.Helper()
	share(t, dir)
	return newEngine(t, url, dir, builder.Resident)
}

// ask builds extensions and waits until the engine has learned from it. It reports whether go build was left out.
func (e engine) ask(t *testing.T, extensions ...string) (binary []byte, linked bool, err error) {
	t.Helper()
	e.log.Reset()
	var buf bytes.Buffer
	_, err = e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", extensions...)}, nil, &buf)
	linked = !strings.Contains(e.log.String(), "left to go build")
	e.native.Settle(t.Context())
	return buf.Bytes(), linked, err
}

// must is ask for what can be built.
func (e engine) must(t *testing.T, linked bool, extensions ...string) []byte {
	t.Helper()
	binary, got, err := e.ask(t, extensions...)
	if err != nil || got != linked {
		t.Fatalf("%v: without go build: %v, want %v; %v\n%s", extensions, got, linked, err, e.log)
	}
	return binary
}

// requiring is a go.mod.
func requiring(path string, requires ...string) string {
	text := "-- go.mod --\nmodule " + path + "\n\ngo 1.21\n"
	for _, r := range requires {
		text += "require " + strings.Replace(r, "@", " ", 1) + "\n"
	}
	return text
}

const emptyPackage = "-- x.go --\npackage x\n"

// elsewhere is the end of the name of a file that is not for this system.
func elsewhere() string {
	if runtime.GOOS == "plan9" {
		return "_linux.go"
	}
	return "_plan9.go"
}

// What go build refuses to build, though the compiler does not mind, is refused, index or not.
func TestWhatGoBuildRefusesIsRefused(t *testing.T) {
	const imports = "-- x.go --\npackage x\n\nimport _ \"example.com/xk6-bad/"
	tests := map[string]struct {
		modules map[string]string // without version: v0.1.0 of the extension
		says    string
	}{
		"a letter outside ASCII in an import path": {map[string]string{"": imports + "é\"\n-- é/e.go --\npackage e\n"}, "malformed import path"},
		"a go.mod of another name":                 {map[string]string{"": requiring("example.com/other") + emptyPackage}, "declares its path as example.com/other"},
		"a dependency of another name": {map[string]string{
			"":                       requiring("example.com/xk6-bad", "example.com/dep@v1.0.0") + "-- x.go --\npackage x\n\nimport _ \"example.com/dep\"\n",
			"example.com/dep@v1.0.0": requiring("example.com/other") + emptyPackage,
		}, "declares its path as example.com/other"},
		"a major version that is not in the name": {map[string]string{
			"":                          requiring("example.com/xk6-bad", "example.com/dep/v2@v2.0.0") + "-- x.go --\npackage x\n\nimport _ \"example.com/dep/v2\"\n",
			"example.com/dep/v2@v2.0.0": requiring("example.com/dep") + emptyPackage,
		}, "declares its path as example.com/dep"},
		"a go.mod without a name":              {map[string]string{"": "-- go.mod --\ngo 1.21\n" + emptyPackage}, "missing module line"},
		"a go.mod that cannot be read":         {map[string]string{"": "-- go.mod --\nmodule example.com/xk6-bad\n\ngo 1.21\nignore a b\n" + emptyPackage}, "ignore directive"},
		"a newer Go":                           {map[string]string{"": "-- go.mod --\nmodule example.com/xk6-bad\n\ngo 1.99\n" + emptyPackage}, "needs Go 1.99"},
		"a version in an import path":          {map[string]string{"": imports + "a@v1\"\n-- a@v1/a.go --\npackage a\n"}, "path@version"},
		"an import path like a short name":     {map[string]string{"": imports + "a~1\"\n-- a~1/a.go --\npackage a\n"}, "malformed import path"},
		"a directory that reads as a flag":     {map[string]string{"": imports + "-a\"\n-- -a/a.go --\npackage a\n"}, "invalid input directory name"},
		"a directory with a tilde":             {map[string]string{"": imports + "~a\"\n-- ~a/a.go --\npackage a\n"}, "invalid input directory name"},
		"a file that reads as a flag":          {map[string]string{"": emptyPackage + "-- -y.go --\npackage x\n"}, "invalid input file name"},
		"a file for elsewhere with a plus":     {map[string]string{"": emptyPackage + "-- +y" + elsewhere() + " --\npackage x\n"}, "invalid input file name"},
		"a test that reads as a flag":          {map[string]string{"": emptyPackage + "-- -y_test.go --\npackage x\n"}, "invalid input file name"},
		"a header that reads as a flag":        {map[string]string{"": emptyPackage + "-- -y.h --\n"}, "invalid input file name"},
		"a binary without source":              {map[string]string{"": "-- x.go --\n//go:binary-only-package\n\npackage x\n"}, "no longer supported"},
		"an unknown setting":                   {map[string]string{"": "-- x.go --\n//go:debug bogus=1\n\npackage x\n"}, "//go:debug"},
		"a file for elsewhere that is torn":    {map[string]string{"": emptyPackage + "-- y" + elsewhere() + " --\npackage x\n\nimport \"fmt\n"}, "not terminated"},
		"a file for elsewhere without package": {map[string]string{"": emptyPackage + "-- y" + elsewhere() + " --\nhello\n"}, "expected 'package'"},
		"a file for elsewhere, not UTF-8":      {map[string]string{"": emptyPackage + "-- y" + elsewhere() + " --\n// \xff\npackage x\n"}, "illegal UTF-8"},
		"an odd import elsewhere":              {map[string]string{"": emptyPackage + "-- y" + elsewhere() + " --\npackage x\n\nimport \"a b\"\n"}, "invalid import path"},
		"two constraints elsewhere":            {map[string]string{"": emptyPackage + "-- y" + elsewhere() + " --\n//go:build a\n//go:build b\n\npackage x\n"}, "multiple //go:build"},
		"a file that is left out and torn":     {map[string]string{"": emptyPackage + "-- y.go --\n//go:build ignore\n\npackage x\n\nimport \"fmt\n"}, "not terminated"},
		"a test that is torn":                  {map[string]string{"": emptyPackage + "-- x_test.go --\npackage x\n\nimport \"fmt\n"}, "not terminated"},
		"a test with cgo":                      {map[string]string{"": emptyPackage + "-- x_test.go --\npackage x\n\nimport \"C\"\n"}, "use of cgo in test"},
		"documentation that imports":           {map[string]string{"": emptyPackage + "-- doc.go --\npackage documentation\n\nimport \"example.com/nowhere\"\n"}, "none of the modules in its go.mod provides"},
		"packages that import each other":      {map[string]string{"": imports + "a\"\n-- a/a.go --\npackage a\n\nimport _ \"example.com/xk6-bad/b\"\n-- b/b.go --\npackage b\n\nimport _ \"example.com/xk6-bad/a\"\n"}, "import cycle"},
		"a package of Go that is not there":    {map[string]string{"": "-- x.go --\npackage x\n\nimport _ \"fmtx\"\n"}, "is not in std"},
		"C with an odd constraint":             {map[string]string{"": emptyPackage + "-- x.c --\n//go:build a b\n\n"}, "parsing //go:build line"},
		"Fortran beside Go":                    {map[string]string{"": emptyPackage + "-- x.f --\n"}, "source files not allowed"},
		"a function without a body":            {map[string]string{"": "-- x.go --\npackage x\n\nfunc f()\n"}, "missing function body"},
		"an order to the linker":               {map[string]string{"": "-- x.go --\npackage x\n\n//go:cgo_ldflag \"-lx\"\nvar X int\n"}, "cgo_ldflag"},
		"a package in two modules": {map[string]string{
			"":                         requiring("example.com/xk6-bad", "example.com/dep@v1.0.0", "example.com/dep/a@v1.0.0") + "-- x.go --\npackage x\n\nimport _ \"example.com/dep/a\"\n",
			"example.com/dep@v1.0.0":   emptyPackage + "-- a/a.go --\npackage a\n",
			"example.com/dep/a@v1.0.0": emptyPackage,
		}, "both have the package example.com/dep/a"},
		"packages that differ in case": {map[string]string{
			"":                       requiring("example.com/xk6-bad", "example.com/dep@v1.0.0", "example.com/Dep@v1.0.0") + "-- x.go --\npackage x\n\nimport (\n\t_ \"example.com/Dep\"\n\t_ \"example.com/dep\"\n)\n",
			"example.com/dep@v1.0.0": emptyPackage,
			"example.com/Dep@v1.0.0": emptyPackage,
		}, "case-insensitive import collision"},
	}
	first := map[string]string{"example.com/xk6-first@v0.1.0": emptyPackage}
	known := newCompiling(t, serveModules(t, first), emptyDir(t))
	known.must(t, false, "first@v0.1.0")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			modules := make(map[string]string)
			for item, text := range test.modules {
				if item == "" {
					item = "example.com/xk6-bad@v0.1.0"
				}
				modules[item] = text
			}
			dir := emptyDir(t) // as these modules have one name
			if err := os.CopyFS(filepath.Join(dir, "kits"), os.DirFS(known.indexes.dir)); err != nil {
				t.Fatal(err)
			}
			e := newCompiling(t, serveModules(t, modules), dir)
			binary, linked, err := e.ask(t, "bad@v0.1.0")
			if err == nil || linked || len(binary) > 0 || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%d bytes without go build: %v, %v\n%s", len(binary), linked, err, e.log)
			}
			if e.wrong.Load() != 0 || strings.Contains(e.log.String(), "level=ERROR") {
				t.Errorf("it was answered\n%s", e.log)
			}
		})
	}
}

// The same holds for packages that are known, each of which go build has made.
func TestKnownPackagesThatDifferInCaseAreRefused(t *testing.T) {
	e := newCompiling(t, serveModules(t, map[string]string{"example.com/xk6-same@v0.1.0": emptyPackage, "example.com/xk6-Same@v0.1.0": emptyPackage}), emptyDir(t))
	e.must(t, false, "same@v0.1.0")
	e.must(t, true, "Same@v0.1.0")
	if binary, _, err := e.ask(t, "same@v0.1.0", "Same@v0.1.0"); k6x.KindOf(err) != k6x.BuildFailed || len(binary) > 0 {
		t.Errorf("%d bytes, %v\n%s", len(binary), err, e.log)
	}
}

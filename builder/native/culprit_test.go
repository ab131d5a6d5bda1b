package native

import (
	"bytes"
	"maps"
	"strconv"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/internal/testmod"
)

// ext returns the archive of an extension with the requirements in its go.mod, and more files.
func ext(name, goMod string, files ...string) string {
	text := "-- go.mod --\nmodule example.com/xk6-" + name + "\n\ngo 1.21\n\nrequire go.k6.io/k6 v1.0.0\n" + goMod +
		"\n-- ext.go --\npackage ext\n\nimport \"go.k6.io/k6/js/modules\"\n\ntype module struct{}\n\n" +
		"func init() { modules.Register(\"k6/x/" + name + "\", new(module)) }\n"
	for i := 0; i < len(files); i += 2 {
		text += "-- " + files[i] + " --\n" + files[i+1] + "\n"
	}
	return text
}

// uses returns a file that uses a name of a package.
func uses(pkg, name string) string {
	return "package ext\n\nimport use \"" + pkg + "\"\n\nvar _ = use." + name + "\n"
}

// odd has modules whose authors went by what does not hold in a build of others.
var odd = map[string]string{
	// A module that was split, as google.golang.org/genproto was, and the k6 of stand-in requires none of it; so wire does.
	"example.com/proto@v0.1.0":        "-- root.go --\npackage proto\n-- rpc/status/x.go --\npackage status\n\nconst Old = 1\n",
	"example.com/proto/rpc@v0.2.0":    "-- status/x.go --\npackage status\n\nconst New = 1\n",
	"example.com/xk6-wire@v0.1.0":     ext("wire", "require example.com/proto/rpc v0.2.0\n", "use.go", uses("example.com/proto/rpc/status", "New")),
	"example.com/xk6-ancient@v0.1.0":  ext("ancient", "require example.com/proto v0.1.0\n"),
	"example.com/middle@v0.1.0":       "-- go.mod --\nmodule example.com/middle\n\ngo 1.16\n\nrequire example.com/proto v0.1.0\n-- x.go --\npackage middle\n\nconst X = 1\n",
	"example.com/xk6-viaproto@v0.1.0": strings.Replace(ext("viaproto", "require example.com/middle v0.1.0\n", "use.go", uses("example.com/middle", "X")), "go 1.21", "go 1.16", 1),

	// A library that gave up something.
	"example.com/lib@v1.0.0":        "-- x.go --\npackage lib\n\nconst Old, Both = 1, 2\n-- gone/x.go --\npackage gone\n\nconst X = 1\n",
	"example.com/lib@v1.1.0":        "-- x.go --\npackage lib\n\nconst New, Both = 1, 2\n",
	"example.com/xk6-a@v0.1.0":      ext("a", "require example.com/lib v1.0.0\n", "use.go", uses("example.com/lib", "Old")),
	"example.com/xk6-b@v0.1.0":      ext("b", "require example.com/lib v1.1.0\n", "use.go", uses("example.com/lib", "New")),
	"example.com/xk6-agone@v0.1.0":  ext("agone", "require example.com/lib v1.0.0\n", "use.go", uses("example.com/lib/gone", "X")),
	"example.com/inner@v0.1.0":      "-- go.mod --\nmodule example.com/inner\n\ngo 1.21\n\nrequire example.com/lib v1.0.0\n-- x.go --\npackage inner\n\nimport \"example.com/lib\"\n\nconst X = lib.Old\n",
	"example.com/xk6-ainner@v0.1.0": ext("ainner", "require (\n\texample.com/inner v0.1.0\n\texample.com/lib v1.0.0 // indirect\n)\n", "use.go", uses("example.com/inner", "X")),

	// Replacements that nobody but their author has.
	"example.com/xk6-forked@v0.1.0": ext("forked", "require example.com/lib v1.1.0\nreplace example.com/lib => example.com/mylib v1.0.0\n",
		"use.go", uses("example.com/lib", "Mine")),
	"example.com/xk6-forkpkg@v0.1.0": ext("forkpkg", "require example.com/lib v1.1.0\nreplace example.com/lib => ./lib\n",
		"use.go", uses("example.com/lib/mine", "X")),
	"example.com/xk6-private@v0.1.0": ext("private", "require example.com/private-lib v0.0.0\nreplace example.com/private-lib => ./private-lib\n",
		"use.go", uses("example.com/private-lib", "X")),
	"example.com/xk6-dotless@v0.1.0": ext("dotless", "require private-lib v0.0.0\nreplace private-lib v0.0.0 => ./private-lib\n",
		"use.go", uses("private-lib", "X")),
	"example.com/xk6-unlucky@v0.1.0": ext("unlucky", "require example.com/lib v1.1.0\nreplace example.com/unused => ./unused\n", "use.go", "package ext\n\nvar _ = nothing\n"),

	// Files that are compiled with cgo only.
	"example.com/xk6-half@v0.1.0": ext("half", "", "use.go", "package ext\n\nvar _ = answer()\n",
		"native.go", "package ext\n\n// static int answer(void) { return 42; }\nimport \"C\"\n\nfunc answer() int { return int(C.answer()) }\n"),
	"example.com/xk6-stub@v0.1.0": ext("stub", "", "native.go", "package ext\n\nimport \"C\"\n\nconst real = true\n",
		"stub.go", "//go:build !cgo\n\npackage ext\n\nconst real = false\n"),
	"example.com/clib@v1.0.0":        "-- x.go --\npackage clib\n\nconst Both = 1\n-- native.go --\n//go:build cgo\n\npackage clib\n\nconst Fast = 1\n-- none.go --\n//go:build !cgo\n\npackage clib\n",
	"example.com/xk6-vialib@v0.1.0":  ext("vialib", "require example.com/clib v1.0.0\n", "use.go", uses("example.com/clib", "Both")),
	"example.com/xk6-halflib@v0.1.0": ext("halflib", "require example.com/clib v1.0.0\n", "use.go", "package ext\n\nimport \"example.com/clib\"\n\nvar _ = clib.Fast\n"),

	// Names that are registered twice.
	"example.com/xk6-first@v0.1.0": ext("first", "", "same.go", "package ext\n\nimport js \"go.k6.io/k6/js/modules\"\n\nconst name = \"k6/x/same\"\n\nfunc init() { js.Register(name, new(module)) }\n"),
	"example.com/xk6-second@v0.1.0": ext("second", "", "same.go", "package ext\n\nimport _ \"example.com/xk6-second/sub\"\n",
		"sub/sub.go", "package sub\n\nimport \"go.k6.io/k6/js/modules\"\n\ntype module struct{}\n\nfunc init() { modules.Register(\"k6/x/same\", new(module)) }\n"),
	"example.com/xk6-output@v0.1.0": ext("output", "", "same.go", "package ext\n\nimport \"go.k6.io/k6/subcommand\"\n\n"+
		"func init() {\n\tsubcommand.RegisterExtension(\"same\", new(module))\n\tif false {\n\t\tsubcommand.RegisterExtension(\"other\", new(module))\n\t} else {\n\t\tsubcommand.RegisterExtension(\"other\", new(module))\n\t}\n}\n"),
	"example.com/xk6-twice@v0.1.0": ext("twice", "", "again.go", "package ext\n\nimport \"go.k6.io/k6/js/modules\"\n\nfunc init() { modules.Register(\"k6/x/twice\", new(module)) }\n"),
}

func oddTool(t *testing.T) Config {
	return Config{Tool: standinTool(t, testmod.ServeFiles(t, odd, "../../testdata/standin/go.k6.io_k6_v1.0.0.txtar"))}
}

func TestFailuresNameTheModuleThatDoesNotGoWithTheOthers(t *testing.T) {
	cfg := oddTool(t)
	for name, c := range map[string]struct {
		extensions []string
		want       failure
	}{
		"a package that two modules have": {[]string{"wire@v0.1.0", "ancient@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/ancient (example.com/xk6-ancient@v0.1.0) requires example.com/proto@v0.1.0, which clashes with example.com/proto/rpc@v0.2.0, " +
				"which k6/x/wire (example.com/xk6-wire@v0.1.0) uses: both have the package example.com/proto/rpc/status"},
			"go get example.com/proto@latest", "ambiguous import"}},
		"a package that two modules have, of a dependency": {[]string{"wire@v0.1.0", "viaproto@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/viaproto (example.com/xk6-viaproto@v0.1.0) needs example.com/middle@v0.1.0, which requires example.com/proto@v0.1.0, " +
				"which clashes with example.com/proto/rpc@v0.2.0, which k6/x/wire"}, "", "ambiguous import"}},
		"a library that another one raises": {[]string{"a@v0.1.0", "b@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/a (example.com/xk6-a@v0.1.0) does not compile: it is written for example.com/lib v1.0.0, " +
				"and k6/x/b (example.com/xk6-b@v0.1.0) raises that to v1.1.0:\n", "undefined: use.Old"}, "for one of them alone", "undefined: use.Old"}},
		"a package that is gone": {[]string{"agone@v0.1.0", "b@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/agone (example.com/xk6-agone@v0.1.0) imports example.com/lib/gone, which is not there: it is written for example.com/lib v1.0.0, " +
				"and k6/x/b (example.com/xk6-b@v0.1.0) raises that to v1.1.0"}, "", "finding module"}},
		"a dependency whose library is raised": {[]string{"ainner@v0.1.0", "b@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"example.com/inner@v0.1.0, which k6/x/ainner (example.com/xk6-ainner@v0.1.0) needs, does not compile: it is written for example.com/lib v1.0.0, " +
				"and k6/x/b (example.com/xk6-b@v0.1.0) raises that to v1.1.0:\n"}, "", "undefined: lib.Old"}},
		"a fork that is a replacement": {[]string{"forked@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/forked (example.com/xk6-forked@v0.1.0) does not compile: its go.mod replaces example.com/lib by example.com/mylib@v1.0.0, " +
				"and replace counts only in a main module:\n"}, "--replace example.com/lib=example.com/mylib@v1.0.0", "undefined: use.Mine"}},
		"a package of a replacement": {[]string{"forkpkg@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"imports example.com/lib/mine, which is not there: its go.mod replaces example.com/lib by ./lib, and replace counts only"},
			"--replace example.com/lib=DIRECTORY", "finding module"}},
		"a module that only a replacement has": {[]string{"private@v0.1.0"}, failure{k6x.NotFound,
			[]string{"example.com/private-lib@v0.0.0, which k6/x/private (example.com/xk6-private@v0.1.0) needs, is not to be found: " +
				"the go.mod of k6/x/private (example.com/xk6-private@v0.1.0) replaces example.com/private-lib by ./private-lib, and replace counts only"},
			"--replace example.com/private-lib=DIRECTORY", ""}},
		"a module whose name is none": {[]string{"dotless@v0.1.0"}, failure{k6x.NotFound,
			[]string{"private-lib@v0.0.0, which k6/x/dotless (example.com/xk6-dotless@v0.1.0) needs, is not to be found: the go.mod of"}, "--replace private-lib=DIRECTORY", ""}},
		"a replacement that is not at fault": {[]string{"unlucky@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/unlucky (example.com/xk6-unlucky@v0.1.0) does not compile:\n"}, "another version of k6", "undefined: nothing"}},
		"files that need cgo": {[]string{"half@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/half (example.com/xk6-half@v0.1.0) does not compile without cgo, which leaves out native.go:\n"},
			"CGO_ENABLED=1 xk6 build --with example.com/xk6-half@v0.1.0", "undefined: answer"}},
		"files of a library that need cgo": {[]string{"halflib@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"does not compile without cgo, which leaves out example.com/clib/native.go:\n"}, "--enable-cgo", "undefined: clib.Fast"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, cfg)
			_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", c.extensions...)}, nil, new(bytes.Buffer))
			c.want.check(t, err)
		})
	}
}

func TestWarningsOfWhatTheSourcesSay(t *testing.T) {
	cfg := oddTool(t)
	for _, c := range []struct {
		extensions []string
		want       string
	}{
		{[]string{"a@v0.1.0", "output@v0.1.0"}, ""},
		{[]string{"first@v0.1.0", "second@v0.1.0", "output@v0.1.0"}, "k6/x/first (example.com/xk6-first@v0.1.0) and example.com/xk6-second/sub of " +
			"k6/x/second (example.com/xk6-second@v0.1.0) both register k6/x/same: k6 may panic when it starts"},
		{[]string{"twice@v0.1.0"}, "k6/x/twice (example.com/xk6-twice@v0.1.0) registers k6/x/twice twice: k6 may panic when it starts"},
		{[]string{"stub@v0.1.0"}, "k6/x/stub (example.com/xk6-stub@v0.1.0) is built without cgo: stub.go takes the place of native.go"},
		{[]string{"vialib@v0.1.0"}, "example.com/clib@v1.0.0, which k6/x/vialib (example.com/xk6-vialib@v0.1.0) needs, is built without cgo: none.go takes the place of native.go"},
	} {
		e := newEngine(t, cfg)
		_, made := build(t, e, e.recipe("v1.0.0", c.extensions...), nil)
		if got := strings.Join(made.Warnings, "\n"); got != c.want {
			t.Errorf("%s: got %s\nwant %s", c.extensions, got, c.want)
		}
	}
}

// In a directory of the user's own, replace means what it means to the go command there.
func TestBuildReplacedHasWhatItsGoModReplaces(t *testing.T) {
	mods := maps.Clone(odd)
	mods["example.com/mylib@v1.0.0"] = "-- go.mod --\nmodule example.com/lib\n\ngo 1.21\n-- x.go --\npackage lib\n\nconst Mine = 1\n"
	cfg := Config{Tool: standinTool(t, testmod.ServeFiles(t, mods, "../../testdata/standin/go.k6.io_k6_v1.0.0.txtar"))}
	const path = "example.com/xk6-mine"
	lib := directory(t, "go.mod", "module private-lib\n", "x.go", "package lib\n\nconst X = 1\n")
	rival := extension(t, "example.com/xk6-hello", "k6/x/hello", "v1.0.0\nreplace private-lib => "+strconv.Quote(lib))
	near := extension(t, path, "k6/x/mine", "v1.0.0\nrequire private-lib v0.0.0\nreplace private-lib => ./lib", "use.go", uses("private-lib", "X"),
		"lib/go.mod", "module private-lib\n", "lib/x.go", "package lib\n\nconst X = 1\n")
	forked := extension(t, path, "k6/x/mine", "v1.0.0\nrequire example.com/lib v1.1.0\nreplace (\n\texample.com/lib v1.1.0 => example.com/mylib v1.0.0\n"+
		"\texample.com/lib/unused => ../nowhere\n)", "use.go", uses("example.com/lib", "Mine"))
	past := extension(t, path, "k6/x/mine", "v1.0.0\nrequire example.com/lib v1.1.0\nreplace example.com/lib v1.0.0 => example.com/mylib v1.0.0", "use.go", uses("example.com/lib", "New"))
	broken := extension(t, path, "k6/x/mine", "v1.0.0\nrequire private-lib v0.0.0\nreplace private-lib => ../nowhere", "use.go", uses("private-lib", "X"))
	mine := Replacement{Path: path, Dir: near}
	for name, c := range map[string]struct {
		by   []Replacement
		want string // what is replaced, or the error
	}{
		"a directory in it":       {[]Replacement{mine}, path + " private-lib"},
		"another one is named":    {[]Replacement{{Path: path, Dir: broken}, {Path: "private-lib", Dir: lib}}, path + " private-lib"},
		"a version that is met":   {[]Replacement{{Path: path, Dir: forked}}, "example.com/lib " + path},
		"a version that is past":  {[]Replacement{{Path: path, Dir: past}}, path},
		"no directory":            {[]Replacement{{Path: path, Dir: broken}}, "replacement directory "},
		"of a fetched repository": {[]Replacement{{Path: path, Dir: near, Fetched: true}}, path + " private-lib"},
		"outside of a fetched one": {[]Replacement{{Path: path, Dir: broken, Fetched: true}},
			"private-lib@v0.0.0, which k6/x/mine (" + path + " => " + broken + ") needs, is not to be found: the go.mod of k6/x/mine"},
		"two directories": {[]Replacement{mine, {Path: "example.com/xk6-hello", Dir: rival}}, "private-lib is replaced twice, by " + near + "/lib and by " + lib},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, cfg)
			report, err := e.BuildReplaced(t.Context(), e.mine("v1.0.0", path), c.by, nil, new(bytes.Buffer))
			var got []string
			for _, r := range report.Replaced {
				got = append(got, r.Path)
			}
			if err != nil {
				got = []string{err.Error()}
			}
			if said := strings.Join(got, " "); err == nil && said != c.want || err != nil && !strings.Contains(said, c.want) {
				t.Errorf("got %s\nwant %s", said, c.want)
			}
		})
	}
}

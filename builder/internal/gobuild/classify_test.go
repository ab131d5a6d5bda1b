package gobuild

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// standinBlame is that of a build of world and untidy, whose graph is written by hand.
func standinBlame() *Blame {
	world := k6x.Module{Path: "example.com/xk6-world", Version: "v0.1.0", Names: []string{"k6/x/world"}}
	recipe := k6x.NewRecipe(k6x.Platform{OS: "linux", Arch: "amd64"},
		[]k6x.Module{{Path: "go.k6.io/k6", Version: "v1.0.0", Names: []string{"k6"}}, world}, false, k6x.Settings{Toolchain: "go1.26.8"})
	k6, ext := Pins(recipe)[0], Pins(recipe)[1]
	greeting := module.Version{Path: "example.com/greeting", Version: "v1.0.0"}
	return NewBlame(recipe, &gomod.Graph{
		Roots:  []module.Version{k6, ext},
		Files:  map[module.Version]*gomod.File{k6: {}, ext: {Require: []module.Version{k6, greeting}}, greeting: {}},
		Needed: map[string]string{k6.Path: k6.Version, greeting.Path: greeting.Version},
	})
}

// The other side of a clash is the one that leads to it: k6, an extension, or the module of an extension itself.
func TestClashesNameBothSides(t *testing.T) {
	a := k6x.Module{Path: "example.com/xk6-a", Version: "v0.1.0", Names: []string{"k6/x/a"}}
	c := k6x.Module{Path: "example.com/xk6-c", Version: "v0.3.0", Names: []string{"k6/x/c"}}
	recipe := k6x.NewRecipe(k6x.Platform{OS: "linux", Arch: "amd64"},
		[]k6x.Module{{Path: "go.k6.io/k6", Version: "v1.0.0", Names: []string{"k6"}}, a, c}, false, k6x.Settings{Toolchain: "go1.26.8"})
	pins := Pins(recipe)
	sub, ofK6, ofC := module.Version{Path: "example.com/xk6-c/sub", Version: "v1.0.0"}, module.Version{Path: "example.com/k", Version: "v1.0.0"},
		module.Version{Path: "example.com/lib", Version: "v1.0.0"}
	b := NewBlame(recipe, &gomod.Graph{Roots: pins, Files: map[module.Version]*gomod.File{
		pins[0]: {Require: []module.Version{ofK6}}, pins[1]: {Require: []module.Version{sub}}, pins[2]: {Require: []module.Version{ofC}}, sub: {}, ofK6: {}, ofC: {},
	}})
	for other, want := range map[module.Version]string{
		pins[2]: "k6/x/a (example.com/xk6-a@v0.1.0) requires example.com/xk6-c/sub@v1.0.0, which clashes with k6/x/c (example.com/xk6-c@v0.3.0): both",
		ofC:     "k6/x/c (example.com/xk6-c@v0.3.0) requires example.com/lib@v1.0.0, which clashes with example.com/xk6-c/sub@v1.0.0, which k6/x/a (example.com/xk6-a@v0.1.0) uses: both",
		ofK6:    "k6/x/a (example.com/xk6-a@v0.1.0) requires example.com/xk6-c/sub@v1.0.0, which clashes with example.com/k@v1.0.0, which k6 (go.k6.io/k6@v1.0.0) uses: both",
	} {
		text := fmt.Sprintf("main.go:3:2: ambiguous import: found package %s/p in multiple modules:\n\t%s %s (/a)\n\t%s %s (/b)\n",
			sub.Path, other.Path, other.Version, sub.Path, sub.Version)
		err := b.Explain(nil, text, errors.New("exit status 1"), false)
		if message := k6x.AsError(err).Message; !strings.HasPrefix(message, want) {
			t.Errorf("%s: got %s", other, message)
		}
	}
}

// TestClassify has outputs of real runs, cleaned, that are hard to get in a test; the
// others are in TestFailuresNameWhoIsAtFault.
func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		output  string
		kind    k6x.Kind
		message string
	}{
		"disk full while compiling": {`# internal/abi
compile: writing output: write $WORK/b008/_pkg_.a: no space left on device
unicode: write tmp/go-build880057600/b047/importcfg: no space left on device
`, k6x.NoSpace, "no room"},
		"disk full while downloading": {`go: writing go.mod cache: write cache/download/go.k6.io/k6/@v/v1.0.0.mod475593132.tmp: no space left on device
main.go:2:8: go.k6.io/k6@v1.0.0: read "http://proxy.example/mod/go.k6.io/k6/@v/v1.0.0.zip": write cache/download/go.k6.io/k6/@v/v1.0.0.zip431111471.tmp: no space left on device
`, k6x.NoSpace, "no room"},
		"quota reached": {"# k6\nlink: flushing $WORK/b001/exe/a.out: disk quota exceeded\n", k6x.NoSpace, "no room"},
		"cache cannot be written": {`GOROOT/src/os/exec.go:12:2: package sync/atomic is not in std (GOROOT/src/sync/atomic)
GOROOT/src/os/dir_unix.go:15:2: package syscall is not in std (GOROOT/src/syscall)
`, k6x.NoSpace, "no room"},
		"compiler killed": {"go.k6.io/k6/cmd: GOROOT/pkg/tool/linux_amd64/compile: signal: killed\n",
			k6x.Unavailable, "stopped by the system"},
		"linker killed": {"k6: GOROOT/pkg/tool/linux_amd64/link: signal: killed\n", k6x.Unavailable, "stopped by the system"},
		"checksum of the lock": {`verifying example.com/greeting@v1.0.0: checksum mismatch
	downloaded: h1:WKu/eC5vISxpjnekMv9Z5ijD9vYijHCCaHI+WOYKM/Q=
	go.sum:     h1:AAA/eC5vISxpjnekMv9Z5ijD9vYijHCCaHI+WOYKM/Q=

SECURITY ERROR
This download does NOT match an earlier download recorded in go.sum.
`, k6x.Forbidden, "downloaded of example.com/greeting@v1.0.0 does not have the checksum"},
		"checksum of the database": {`main.go:6:2: example.com/xk6-world@v0.1.0: verifying module: checksum mismatch
	downloaded: h1:WKu/eC5vISxpjnekMv9Z5ijD9vYijHCCaHI+WOYKM/Q=
	sum.golang.org: h1:AAA/eC5vISxpjnekMv9Z5ijD9vYijHCCaHI+WOYKM/Q=

SECURITY ERROR
This download does NOT match the one reported by the checksum server.
`, k6x.Forbidden, "downloaded of k6/x/world (example.com/xk6-world@v0.1.0) does not have the checksum"},
		"checksum of a go.mod": {`go: example.com/greeting@v1.0.0/go.mod: verifying module: checksum mismatch
SECURITY ERROR
`, k6x.Forbidden, "downloaded of example.com/greeting@v1.0.0 does not"},
		"database down": {"go: go.k6.io/k6@v1.0.0: verifying go.mod: go.k6.io/k6@v1.0.0/go.mod: reading https://sum.golang.org/lookup/go.k6.io/k6@v1.0.0: 500 Internal Server Error\n",
			k6x.Unavailable, "does not vouch for k6 (go.k6.io/k6@v1.0.0)"},
		"proxy refuses a go.mod": {`go: example.com/xk6-world@v0.1.0: reading https://proxy.example/example.com/xk6-world/@v/v0.1.0.mod: 403 Forbidden
	server response: This module version is not available.
`, k6x.Unavailable, "k6/x/world (example.com/xk6-world@v0.1.0) cannot be downloaded now"},
		"go.mod of a dependency missing": {`go: example.com/xk6-world@v0.1.0 requires
	example.com/greeting@v1.0.0: reading https://proxy.example/example.com/greeting/@v/v1.0.0.mod: 404 Not Found
	server response: 404 page not found
`, k6x.NotFound, "example.com/greeting@v1.0.0, which k6/x/world (example.com/xk6-world@v0.1.0) needs, is not to be found"},
		"no such host": {`main.go:2:8: go.k6.io/k6@v1.0.0: Get "https://nosuch.invalid/go.k6.io/k6/@v/v1.0.0.zip": dial tcp: lookup nosuch.invalid on 192.0.2.53:53: no such host
`, k6x.Unavailable, "k6 (go.k6.io/k6@v1.0.0) cannot be downloaded now"},
		"NUL byte": {"main.go:2:8: read example.com/xk6-world@v0.1.0/a.go: unexpected NUL in input\n",
			k6x.BuildFailed, "a file of k6/x/world (example.com/xk6-world@v0.1.0) is no Go source"},
		"no such revision": {"go: example.com/xk6-world@v0.1.0: invalid version: unknown revision v0.1.0\n",
			k6x.NotFound, "is not to be found"},
		"git cannot reach the host": {`main.go:3:8: reading github.com/me/xk6-mine/go.mod at revision v0.1.0: git ls-remote -q --end-of-options https://github.com/me/xk6-mine in cache/vcs/1d2d6d602d12: exit status 128:
	fatal: unable to access 'https://github.com/me/xk6-mine/': Could not resolve host: github.com
`, k6x.Unavailable, "cannot be downloaded now"},
		"git asks for a name": {`main.go:3:8: example.com/xk6-world@v0.1.0: invalid version: git ls-remote -q --end-of-options origin in cache/vcs/1d2d6d602d12: exit status 128:
	fatal: could not read Username for 'https://github.com': terminal prompts disabled
Confirm the import path was entered correctly.
`, k6x.NotFound, "k6/x/world (example.com/xk6-world@v0.1.0) is not to be found"},
		"no C compiler": {"# runtime/cgo\ncgo: C compiler \"clang\" not found: exec: \"clang\": executable file not found in $PATH\n",
			k6x.BuildFailed, "no C compiler for linux/amd64"},
		"k6 itself": {"# go.k6.io/k6/js/modules\ngo.k6.io/k6@v1.0.0/js/modules/modules.go:7:2: undefined: x\n",
			k6x.BuildFailed, "k6 (go.k6.io/k6@v1.0.0) does not compile:\n# go.k6.io/k6/js/modules\n"},
		"the linker":          {"# k6\nlink: duplicated definition of symbol a\n", k6x.BuildFailed, "cannot be linked:\n# k6\nlink: duplicated"},
		"a package of nobody": {"# example.org/strange\nx.go:1:1: no\n", k6x.BuildFailed, "example.org/strange does not compile"},
		"anything else":       {"go: the moon is full\n", k6x.BuildFailed, "go: the moon is full"},
		"nothing":             {"", k6x.BuildFailed, "cannot be built"},
	} {
		t.Run(name, func(t *testing.T) {
			got := standinBlame().classify(c.output, c.output, false)
			if got.Kind != c.kind || !strings.Contains(got.Message, c.message) {
				t.Errorf("%v: %s\nwant %v: %s", got.Kind, got.Message, c.kind, c.message)
			}
		})
	}
	b := standinBlame()
	b.Unreached = func(output string) *k6x.Error {
		if !strings.Contains(output, "inside.example") {
			return nil
		}
		return k6x.Errorf(k6x.Forbidden, "inside.example is private")
	}
	const refused = `go: example.com/xk6-world@v0.1.0: unrecognized import path "example.com/xk6-world": https fetch: Get "https://%s/x?go-get=1": no` + "\n"
	got := b.classify(fmt.Sprintf(refused, "inside.example"), "", false)
	if got.Kind != k6x.NotFound || got.Message != "k6/x/world (example.com/xk6-world@v0.1.0) cannot be downloaded: inside.example is private" {
		t.Errorf("a host that may not be reached: %v: %s", got.Kind, got.Message)
	}
	if got := b.classify(fmt.Sprintf(refused, "outside.example"), "", false); got.Kind != k6x.Unavailable {
		t.Errorf("another host: %v: %s", got.Kind, got.Message)
	}
	if got := standinBlame().classify("", "", true); got.Kind != k6x.Unavailable {
		t.Errorf("the go command was killed: %v: %s", got.Kind, got.Message)
	}
}

func TestWhatK6RaisesIsNamedIfTheCompilerSpeaksOfIt(t *testing.T) {
	b := standinBlame()
	k6, ext := b.graph.Roots[0], b.graph.Roots[1]
	old, newer := module.Version{Path: "github.com/me/go-lib/v2", Version: "v2.0.0"}, module.Version{Path: "github.com/me/go-lib/v2", Version: "v2.1.0"}
	b.graph.Files[ext].Require = append(b.graph.Files[ext].Require, old)
	b.graph.Files[k6].Require = []module.Version{newer}
	b.graph.Files[newer] = new(gomod.File)
	b.selected[newer.Path] = newer.Version
	for said, want := range map[string]string{
		"undefined: lib.Old": "k6/x/world (example.com/xk6-world@v0.1.0) does not compile: it is written for github.com/me/go-lib/v2 v2.0.0, " +
			"and k6 (go.k6.io/k6@v1.0.0) raises that to v2.1.0:\n",
		"undefined: other": "k6/x/world (example.com/xk6-world@v0.1.0) does not compile:\n",
	} {
		text := "# example.com/xk6-world\nexample.com/xk6-world@v0.1.0/x.go:1:1: " + said + "\n"
		if got := b.classify(text, text, false); !strings.HasPrefix(got.Message, want) {
			t.Errorf("got %s\nwant %s", got.Message, want)
		}
	}
}

func TestWhatAnExtensionRaisesMayBreakK6(t *testing.T) {
	b := standinBlame()
	k6, ext := b.graph.Roots[0], b.graph.Roots[1]
	old, newer := module.Version{Path: "example.com/lib", Version: "v1.0.0"}, module.Version{Path: "example.com/lib", Version: "v1.1.0"}
	b.graph.Files[k6].Require = []module.Version{old}
	b.graph.Files[ext].Require = append(b.graph.Files[ext].Require, newer)
	b.graph.Files[old], b.graph.Files[newer] = new(gomod.File), new(gomod.File)
	b.selected[newer.Path] = newer.Version
	text := "# go.k6.io/k6/js\ngo.k6.io/k6@v1.0.0/js/x.go:1:1: undefined: lib.Old\n"
	want := "k6 (go.k6.io/k6@v1.0.0) does not compile: it is written for example.com/lib v1.0.0, and k6/x/world (example.com/xk6-world@v0.1.0) raises that to v1.1.0:\n"
	if got := b.classify(text, text, false); !strings.HasPrefix(got.Message, want) {
		t.Errorf("got %s\nwant %s", got.Message, want)
	}
}

func TestMessageQuotesTheFirstLinesOnly(t *testing.T) {
	long := "# example.com/xk6-world\n" + strings.Repeat("words.go:1:1: "+strings.Repeat("é", 60)+"\n", 1000)
	got := standinBlame().classify(long, long, false)
	if n := strings.Count(got.Message, "\n"); n > quoteLines+2 {
		t.Errorf("%d lines", n)
	}
	wide := "# example.com/xk6-world\n" + strings.Repeat("é", 1<<20)
	if n := len(standinBlame().classify(wide, wide, false).Message); n > quoteBytes+200 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("# example.com/xk6-world\nwords.go:1:1: undefined: x\n")
	f.Add("go: example.com/xk6-world@v0.1.0 requires\n\texample.com/greeting@v1.0.0: reading https://p.example/: 404 Not Found\n")
	f.Add("main.go:3:8: build constraints exclude all Go files in example.com/xk6-cgo@v0.1.0/sub")
	b := standinBlame()
	f.Fuzz(func(t *testing.T, output string) {
		if e := k6x.AsError(b.Explain(nil, output, errors.New("exit status 1"), false)); e.Message == "" {
			t.Error("no message")
		}
	})
}

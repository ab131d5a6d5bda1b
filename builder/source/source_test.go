package source

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
)

func TestParseTellsDirectoriesModulesAndRepositories(t *testing.T) {
	base := t.TempDir()
	abs := filepath.Join(base, "a b")
	for text, want := range map[string]Source{
		".":                                  {Dir: base},
		"./xk6-mine":                         {Dir: filepath.Join(base, "xk6-mine")},
		"../xk6-mine/":                       {Dir: filepath.Join(filepath.Dir(base), "xk6-mine")},
		".hidden":                            {Dir: filepath.Join(base, ".hidden")},
		abs + "/../c":                        {Dir: filepath.Join(base, "c")},
		"github.com/me/xk6-mine@v1.2.3":      {Module: module.Version{Path: "github.com/me/xk6-mine", Version: "v1.2.3"}},
		"github.com/me/xk6-mine@1.2.3":       {Module: module.Version{Path: "github.com/me/xk6-mine", Version: "v1.2.3"}},
		"github.com/me/xk6-mine/v2@v2.0.0":   {Module: module.Version{Path: "github.com/me/xk6-mine/v2", Version: "v2.0.0"}},
		"git://example.com/x":                {Remote: "git://example.com/x"},
		"https://example.com/x.git#main":     {Remote: "https://example.com/x.git", Ref: "main"},
		"https://example.com:8443/a/b#v1.0":  {Remote: "https://example.com:8443/a/b", Ref: "v1.0"},
		"ssh://git@example.com/x#feature/a":  {Remote: "ssh://git@example.com/x", Ref: "feature/a"},
		"ssh://example.com/~me/x#1234567":    {Remote: "ssh://example.com/~me/x", Ref: "1234567"},
		"https://[::1]:8080/x":               {Remote: "https://[::1]:8080/x"},
		"file:///srv/x#refs/pull/12/head":    {Remote: "file:///srv/x", Ref: "refs/pull/12/head"},
		"https://example.com/x#a+b_c.d-e/f0": {Remote: "https://example.com/x", Ref: "a+b_c.d-e/f0"},
	} {
		got, err := Parse(text, base)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", text, got, err, want)
			continue
		}
		if again, err := Parse(got.String(), base); err != nil || again != got {
			t.Errorf("%s reads as %+v, %v, want %+v", got, again, err, got)
		}
	}
}

func TestParseRefusesWhatIsUnclearOrUnsafe(t *testing.T) {
	for text, want := range map[string]string{ // part of message and hint
		"":                                          "nothing to replace it by",
		"xk6-mine":                                  "Write ./xk6-mine for a directory",
		"sub/xk6-mine":                              "Write ./sub/xk6-mine for a directory",
		"~/xk6-mine":                                "Write the whole path",
		"github.com/me/xk6-mine":                    "Write github.com/me/xk6-mine@VERSION for a module",
		"github.com/me/xk6-mine@main":               "https://github.com/me/xk6-mine#main",
		"github.com/me/xk6-mine@>=1":                "not a version of the module",
		"github.com/me/xk6-mine@v2.0.0":             "major version",
		"github.com/me/xk6-mine@":                   "not a version",
		"-x@v1.0.0":                                 "neither a directory nor a module",
		"a b.com/x@v1.0.0":                          "neither a directory nor a module",
		"git@github.com:me/xk6-mine":                "ssh://git@github.com/me/xk6-mine",
		"http://example.com/x":                      "Write https://",
		"ext::sh -c id":                             "neither a directory nor a module",
		"ext://x/y":                                 `cannot be fetched by "ext"`,
		"https://":                                  "does not name a repository",
		"https://example.com":                       "does not name a repository",
		"https://example.com/?a=b":                  "does not name a repository",
		"https://example.com/x?a=b":                 "there is a ? in it",
		"https://-oProxyCommand=id/x":               "does not name a repository",
		"ssh://-oProxyCommand=id/x":                 "does not name a repository",
		"ssh://-l@example.com/x":                    "a name or a password",
		"https://hunter2@example.com/x":             "a name or a password",
		"ssh://git:hunter2@example.com/x":           "a name or a password",
		"https://me:hunter2@[broken/x":              "cannot be read",
		"file://example.com/x":                      "absolute path",
		"https://example.com/x#":                    "behind the #",
		"https://example.com/x#-f":                  "not the name of a branch",
		"https://example.com/x#--upload-pack=id":    "not the name of a branch",
		"https://example.com/x#a..b":                "not the name of a branch",
		"https://example.com/x#a:b":                 "not the name of a branch",
		"https://example.com/x#+main":               "not the name of a branch",
		"https://example.com/x#*":                   "not the name of a branch",
		"https://example.com/x#a%0ab":               "not the name of a branch",
		"https://example.com/x#" + long("a", 300):   "not the name of a branch",
		"https://example.com/" + long("a", 3000):    "longer than",
		"." + long("a", 2046):                       "longer than",
		"https://example.com/" + long("\x94", 1000): "longer than",
		"https://example.com/x\n":                   "control characters",
		"./x\x00":                                   "control characters",
		"https://example.com/x#a%20b":               "not the name of a branch",
		"https://example.com/x#refs/heads/../../..": "not the name of a branch",
	} {
		got, err := Parse(text, t.TempDir())
		if k6x.KindOf(err) != k6x.Invalid || err == nil {
			t.Errorf("Parse(%.50q) = %+v, %v", text, got, err)
			continue
		}
		said := err.Error() + "\n" + k6x.AsError(err).Hint
		if !strings.Contains(said, want) || strings.Contains(said, "hunter2") {
			t.Errorf("Parse(%.50q) says\n%s\nwant %s", text, said, want)
		}
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"./x", "a.b/c@v1.0.0", "https://a.b/c#d", "ssh://u@h/p#r", "file:///x", "git@h:p", "ext::x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text, "/base")
		if err != nil {
			if k6x.KindOf(err) != k6x.Invalid {
				t.Errorf("%v", err)
			}
			return
		}
		if s.Dir == "" && s.Remote == "" && s.Module.Path == "" || strings.HasPrefix(s.Remote, "-") || strings.HasPrefix(s.Ref, "-") {
			t.Errorf("%+v", s)
		}
		if again, err := Parse(s.String(), "/base"); err != nil || again != s {
			t.Errorf("%+v reads as %+v, %v", s, again, err)
		}
	})
}

func TestModulePathIsWhatGoModSays(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("// a comment\nmodule \"example.com/xk6-mine/v2\"\n\ngo 1.99\n\nsomething new\n")
	if got, err := ModulePath(dir); got != "example.com/xk6-mine/v2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{
		"go 1.21\n":                        "does not say what the module is called",
		"module ../evil\n":                 "no module can have",
		long("// x\n", 1<<20) + "x":        "does not say",
		"module example.com/a\" // \"evil": "no module can have",
	} {
		write(text)
		got, err := ModulePath(dir)
		if k6x.KindOf(err) != k6x.Invalid || err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%.30q: %q, %v", text, got, err)
		}
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "nowhere"): "there is no directory",
		filepath.Join(dir, "go.mod"):  "is not a directory",
		t.TempDir():                   "it has no go.mod",
	} {
		if _, err := ModulePath(path); k6x.KindOf(err) != k6x.Invalid || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if runtime.GOOS != "windows" {
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "sub", "go.mod"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := ModulePath(filepath.Join(dir, "sub")); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("go.mod is a directory: %v", err)
		}
	}
}

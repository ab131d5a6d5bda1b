package gobuild

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
)

// secretWord is in a file that is of no module.
const secretWord = "hunter2"

// tree writes files, given as name and text, into the package pkg of a module next to a file with a secret. SECRET in a
// text stands for that file's path.
func tree(t testing.TB, files map[string]string) (root string) {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.txt")
	root = filepath.Join(dir, "module")
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, secretWord+" 1\n")
	for name, text := range files {
		write(filepath.Join(root, filepath.FromSlash(name)), strings.ReplaceAll(text, "SECRET", filepath.ToSlash(secret)))
	}
	return root
}

// goDirs returns where Go is, and where its tools are.
var goDirs = sync.OnceValues(func() ([]string, error) {
	out, err := exec.Command("go", "env", "GOROOT", "GOTOOLDIR").Output()
	return strings.Split(strings.TrimSpace(string(out)), "\n"), err
})

// assemble runs Go's assembler on a file as the go command does, and returns what it says.
func assemble(t testing.TB, file string) string {
	t.Helper()
	dirs, err := goDirs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dirs[1], "asm"), "-p", "p", "-I", filepath.Join(dirs[0], "pkg", "include"),
		"-o", filepath.Join(t.TempDir(), "out.o"), file)
	cmd.Dir = filepath.Dir(file)
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return string(out)
}

// leaks are assembly files that make the assembler read the secret.
var leaks = map[string]map[string]string{
	"absolute":                 {"p/a.s": `#include "SECRET"` + "\n"},
	"with ..":                  {"p/a.s": `#include "../../secret.txt"` + "\n"},
	"with .. further on":       {"p/a.s": `#include "./../p/../../secret.txt"` + "\n"},
	"with two slashes":         {"p/a.s": `#include "/SECRET"` + "\n"},
	"with escapes":             {"p/a.s": `#include "\u002e\x2e/../secret.txt"` + "\n"},
	"with blanks and comments": {"p/a.s": "/* a */ # /* b\n*/ include/**/\t\"SECRET\" // c\n"},
	"where a condition holds":  {"p/a.s": "#ifndef nothing\n#ifdef more\n#else\n#include \"SECRET\"\n#endif\n#endif\n"},
	"after code":               {"p/a.s": "TEXT ·f(SB),0,$0\n\tRET;\n#include \"SECRET\"\n"},
	"without a last newline":   {"p/a.s": "#include \"SECRET\"\r\n"},
	"of a header":              {"p/a.s": `#include "a.h"` + "\n", "p/a.h": `#include "SECRET"` + "\n"},
	"of a header's header":     {"p/a.s": `#include "b/a.txt"` + "\n", "p/b/a.txt": `#include "b/c"` + "\n", "p/b/c": `#include "../../secret.txt"` + "\n"},
	"of a header elsewhere":    {"p/a.s": `#include "../q/a.h"` + "\n", "q/a.h": `#include "../../secret.txt"` + "\n"},

	"in a macro":                     {"p/a.s": "#define X # include \"SECRET\"\nX\n"},
	"in a macro with other slashes":  {"p/a.s": "#define X # include \"\u00b7\u00b7\u2215\u00b7\u00b7\u2215secret.txt\"\nX\n"},
	"of a macro's argument":          {"p/a.s": "#define X(f) # include f\nX(\"SECRET\")\n"},
	"after a macro":                  {"p/a.s": "#define X #\nX include \"SECRET\"\n"},
	"after a macro with arguments":   {"p/a.s": "#define X(a) a\nX(#) include \"SECRET\"\n"},
	"before a macro":                 {"p/a.s": "#define X # include\nX \"SECRET\"\n"},
	"the word is a macro's argument": {"p/a.s": "#define X(a) # a \"SECRET\"\nX(include)\n"},
	"all in arguments":               {"p/a.s": "#define X(a, b) a b\nX(# include, \"SECRET\")\n"},
	"argument and rest":              {"p/a.s": "#define X(a) a\nX(# include) \"SECRET\"\n"},
	"a parameter is called include":  {"p/a.s": "#define X(include) # include \"SECRET\"\nX(include)\n"},
	"across the end of a header":     {"p/a.s": "#include \"a.h\"\n\"SECRET\"\n", "p/a.h": "#include"},
	"the word after a header":        {"p/a.s": "#include \"a.h\"\ninclude \"SECRET\"\n", "p/a.h": "#"},
	"a macro of a header":            {"p/a.s": "#include \"a.h\"\nX include \"SECRET\"\n", "p/a.h": "#define X #\n"},
}

func TestIncludesFromOutsideAreRefused(t *testing.T) {
	for name, files := range leaks {
		t.Run(name, func(t *testing.T) {
			root := tree(t, files)
			if said := assemble(t, filepath.Join(root, "p", "a.s")); !strings.Contains(said, secretWord) {
				t.Errorf("the assembler reads nothing: %s", said)
			}
			err := checkIncludes(root, false)
			if _, ok := errors.AsType[*inclusion](err); !ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestIncludesOfTheModuleAndOfGoAreAllowed(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"of Go":               {"p/a.s": "#include \"textflag.h\"\n#include \"funcdata.h\"\n#include \"go_asm.h\"\n"},
		"of its own":          {"p/a.s": "#include \"a.h\"\n#include \"b/c.h\"\n#include \"b/../a.h\"\n", "p/a.h": "#define A 1\n", "p/b/c.h": ""},
		"of the module":       {"p/q/a.s": `#include "../../r/a.h"` + "\n", "r/a.h": "#define A 1\n"},
		"in a macro":          {"p/a.s": "#define X # include \"a.h\"\nX\n", "p/a.h": ""},
		"in a comment":        {"p/a.s": "// #include \"SECRET\"\n/*\n#include \"SECRET\"\n*/\n"},
		"in a text":           {"p/a.s": `DATA ·a(SB)/8, $"include"` + "\n"},
		"of a system":         {"p/a.s": "#ifdef NOT_GO\n#include <sys/cdefs.h>\n#endif\n"},
		"of C, without cgo":   {"p/a.c": `#include "SECRET"` + "\n", "p/a.go": "package p\n\n// #include \"SECRET\"\nimport \"C\"\n", "p/a.S": `#include "SECRET"` + "\n"},
		"of no source":        {"p/a.txt": `#include "SECRET"` + "\n"},
		"another assembler's": {"p/a.s": `.include "a.h"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkIncludes(tree(t, files), false); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHeadersForAPlatform: the go command copies a_linux_amd64.h to a_GOOS_GOARCH.h before it has the file assembled.
func TestHeadersForAPlatform(t *testing.T) {
	files := map[string]string{"p/a.s": `#include "a_GOOS_GOARCH.h"` + "\n", "p/a_plan9_arm.h": `#include "SECRET"` + "\n"}
	if err := checkIncludes(tree(t, files), false); err == nil {
		t.Error("not refused")
	}
	files["p/a_plan9_arm.h"] = "#define A 1\n"
	if err := checkIncludes(tree(t, files), false); err != nil {
		t.Error(err)
	}
}

// FuzzIncludes shows that whatever makes the assembler read a file from outside is refused.
func FuzzIncludes(f *testing.F) {
	for _, files := range leaks {
		f.Add(files["p/a.s"], files["p/a.h"])
	}
	f.Fuzz(func(t *testing.T, text, header string) {
		root := tree(t, map[string]string{"p/a.s": text, "p/a.h": header})
		if checkIncludes(root, false) == nil && strings.Contains(assemble(t, filepath.Join(root, "p", "a.s")), secretWord) &&
			!strings.Contains(text+header, secretWord) {
			t.Errorf("the assembler has read the secret")
		}
	})
}

func TestIncludesOfCgo(t *testing.T) {
	goFile := func(preamble string) string { return "package p\n\n/*\n" + preamble + "\n*/\nimport \"C\"\n" }
	for name, files := range map[string]map[string]string{
		"absolute":            {"p/a.c": `#include "SECRET"` + "\n"},
		"as of a system":      {"p/a.c": "#include <SECRET>\n"},
		"up from a system":    {"p/a/b.c": "#include <../a/b.c>\n"},
		"with ..":             {"p/a.h": `#include "../../secret.txt"` + "\n"},
		"spliced":             {"p/a.c": "#inc\\\nlude \\ \n\"SECRET\"\n"},
		"with trigraphs":      {"p/a.c": "??=inc??/\nlude \"SECRET\"\n"},
		"with digraphs":       {"p/a.cc": "%:include \"SECRET\"\n"},
		"after comments":      {"p/a.c": "int a; /* \n */ # /* */ include /* \n */ \"SECRET\"\n"},
		"imported":            {"p/a.m": "#import \"SECRET\"\n"},
		"embedded":            {"p/a.c": "char a[] = {\n#embed \"SECRET\"\n};\n"},
		"the next":            {"p/a.c": "#include_next \"../p/a.c\"\n"},
		"of an odd file":      {"p/a.c": "#include \"b.txt\"\n", "p/b.txt": "#include \"SECRET\"\n"},
		"assembly":            {"p/a.S": "#include \"SECRET\"\n"},
		"another assembler's": {"p/a.s": ".include \"SECRET\"\n"},
		"bytes":               {"p/a.c": `asm(".incbin \"SECRET\"");` + "\n"},
		"in Go":               {"p/a.go": goFile(`#include "SECRET"`)},
		"in Go, by lines":     {"p/a.go": "package p\n\n// #include \"SECRET\"\nimport `C`\n"},
		"a flag":              {"p/a.go": goFile("#cgo CFLAGS: -include SECRET")},
		"a directory":         {"p/a.go": goFile("#cgo linux CFLAGS: -O2 -I/home")},
		"a parent":            {"p/a.go": goFile("#cgo LDFLAGS: -L${SRCDIR}/../..")},
		"a parent by itself":  {"p/a.go": "package p\n\n//#cgo CFLAGS: -I ../..\nimport \"C\"\n"},
		"symbols":             {"p/a.go": goFile("#cgo LDFLAGS: -Wl,--just-symbols=SECRET")},
		"a library":           {"p/a.go": goFile("#cgo LDFLAGS: -l:../../../secret.txt")},
		"unreadable":          {"p/a.c": "#include /*" + strings.Repeat("*", maxDirective) + "*/ \"SECRET\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, files)
			err := checkIncludes(root, true)
			if _, ok := errors.AsType[*inclusion](err); !ok {
				t.Errorf("got %v", err)
			}
			if err := checkIncludes(root, false); err != nil {
				t.Errorf("without cgo: %v", err)
			}
		})
	}
	for name, files := range map[string]map[string]string{
		"of a system":    {"p/a.c": "#include <stdio.h>\n#include \"/usr/include/a.h\"\n#include \"nowhere.h\"\n#define include \"SECRET\"\n#include FILE\n"},
		"of its own":     {"p/a.c": "#include \"a.h\"\n#include \"../q/a.h\"\n", "p/a.h": "", "q/a.h": ""},
		"flags":          {"p/a.go": goFile("#cgo LDFLAGS: -L/usr/local/lib -lm -L${SRCDIR}/../q -Wl,-rpath,/usr/lib\n#cgo CFLAGS: -DETC=/etc -I. -std=c99 -I/opt/homebrew/include")},
		"Go without cgo": {"p/a.go": "package p\n\n// #include \"SECRET\"\nvar C = \"C\"\n"},
		"a test":         {"p/a_test.go": goFile(`#include "SECRET"`)},
		"a comment":      {"p/a.c": "// as with #include \"SECRET\"\nchar *s = \"#include \\\"SECRET\\\"\";\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkIncludes(tree(t, files), true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRefusalNamesModuleAndFile(t *testing.T) {
	root := tree(t, map[string]string{"asm/leak_amd64.s": "\n#include \"/etc/hosts\"\n"})
	err := standinBlame().CheckIncludes(module.Version{Path: "example.com/xk6-world", Version: "v0.1.0"}, root)
	const want = `k6/x/world (example.com/xk6-world@v0.1.0) is not built, as asm/leak_amd64.s includes "/etc/hosts", which is neither a file of its module nor of Go`
	if k6x.KindOf(err) != k6x.BuildFailed || err.Error() != want {
		t.Errorf("got %v: %v", k6x.KindOf(err), err)
	}
	err = standinBlame().CheckIncludes(module.Version{Path: "example.com/xk6-world", Version: "v0.1.0"}, filepath.Join(root, "nowhere"))
	if err == nil || k6x.KindOf(err) != k6x.Internal {
		t.Errorf("of no directory: %v", err)
	}
}

// TestModulesOfThisProgram shows that real modules are not refused.
func TestModulesOfThisProgram(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Dir}}{{end}}{{end}}", "k6x/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out)))))
	for _, dir := range dirs {
		if err := checkIncludes(dir, false); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if len(dirs) == 0 {
		t.Error("no module is there")
	}
}

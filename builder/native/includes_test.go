package native

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"k6x"
	"k6x/builder"
	"k6x/event"
	"k6x/internal/cage"
	"k6x/internal/testmod"
)

// secretWord is in a file that is of no module.
const secretWord = "hunter2"

// secretFile writes a file with a secret.
func secretFile(t *testing.T, text string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(name)
}

// serveExtension serves the stand-in k6, the extension example.com/xk6-NAME v0.1.0 with more files, given as name and
// text, and its dependency example.com/dep-NAME if dep has files of one.
func serveExtension(t *testing.T, name string, files, dep []string) (url string) {
	t.Helper()
	dir := t.TempDir()
	write := func(module, version string, files []string) {
		archive := &txtar.Archive{}
		for i := 0; i < len(files); i += 2 {
			archive.Files = append(archive.Files, txtar.File{Name: files[i], Data: []byte(files[i+1])})
		}
		file := filepath.Join(dir, strings.ReplaceAll(module, "/", "_")+"_"+version+".txtar")
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	goMod := "module example.com/xk6-" + name + "\n\ngo 1.21\n\nrequire go.k6.io/k6 v1.0.0\n"
	if dep != nil {
		goMod += "require example.com/dep-" + name + " v1.0.0\n"
		write("example.com/dep-"+name, "v1.0.0", append([]string{"go.mod", "module example.com/dep-" + name + "\n\ngo 1.21\n", "dep.go", "package dep\n"}, dep...))
		files = append(files, "use.go", "package ext\n\nimport _ \"example.com/dep-"+name+"\"\n")
	}
	write("example.com/xk6-"+name, "v0.1.0", append([]string{"go.mod", goMod, "ext.go", "package ext\n\nimport \"go.k6.io/k6/js/modules\"\n\n" +
		"type module struct{}\n\nfunc init() { modules.Register(\"k6/x/" + name + "\", new(module)) }\n"}, files...))
	k6, err := os.ReadFile("../../testdata/standin/go.k6.io_k6_v1.0.0.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.k6.io_k6_v1.0.0.txtar"), k6, 0o644); err != nil {
		t.Fatal(err)
	}
	return testmod.Serve(t, dir)
}

func TestIncludesFromOutsideAreRefused(t *testing.T) {
	const assembles = "// " + secretWord + "\n#define " + secretWord + " 1\n"
	const fails = secretWord + " 1\n"
	include := func(name string) string { return fmt.Sprintf("#include %q\n", name) }
	for name, c := range map[string]struct {
		secret string
		files  func(secret string) []string
		dep    func(secret string) []string
	}{
		"absolute":  {fails, func(secret string) []string { return []string{"leak.s", include(secret)} }, nil},
		"assembled": {assembles, func(secret string) []string { return []string{"leak.s", include(secret)} }, nil},
		"upwards": {fails, func(secret string) []string {
			up, err := filepath.Rel(filepath.Join(cacheDir, "modcache", "example.com", "xk6-upwards@v0.1.0"), filepath.FromSlash(secret))
			if err != nil {
				t.Skip(err) // another drive
			}
			return []string{"leak.s", include(filepath.ToSlash(up))}
		}, nil},
		"header": {fails, func(secret string) []string { return []string{"leak.h", include(secret), "a.s", include("leak.h")} }, nil},
		"macro":  {fails, func(secret string) []string { return []string{"leak.s", "#define X #\nX include \"" + secret + "\"\n"} }, nil},
		"quoted": {"#define A " + secretWord + "\n", func(secret string) []string { // at a position in its own file
			return []string{"leak.s", include(secret) + "A\n"}
		}, nil},
		"library": {fails, func(string) []string { return nil }, func(secret string) []string { return []string{"leak.s", include(secret)} }},
		"part":    {assembles, func(string) []string { return nil }, func(secret string) []string { return []string{"leak.s", include(secret)} }},
	} {
		t.Run(name, func(t *testing.T) {
			secret := secretFile(t, c.secret)
			var dep []string
			if c.dep != nil {
				dep = c.dep(secret)
			}
			var log bytes.Buffer
			e := newEngine(t, Config{Cage: new(cage.Cage), Tool: standinTool(t, serveExtension(t, name, c.files(secret), dep)), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			var buf bytes.Buffer
			for range 2 { // what was refused is not taken for checked
				sink, said := said()
				_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", name+"@v0.1.0")}, sink, &buf)
				checkRefused(t, err, "leak.")
				if said.Len() > 0 {
					t.Errorf("told meanwhile: %s", said)
				}
			}
			if buf.Len() > 0 {
				t.Errorf("%d bytes were written", buf.Len())
			}
			if c.secret != assembles && !strings.Contains(log.String(), secretWord) {
				t.Errorf("the log does not have what the assembler said: %s", log.String())
			}
		})
	}
}

// said returns a sink and what it is told that the tools say.
func said() (event.Sink, *strings.Builder) {
	var text strings.Builder
	return func(e event.Event) {
		if e.Type == event.Output {
			text.WriteString(e.Output)
		}
	}, &text
}

// checkRefused checks that err says which file is at fault, and nothing of the secret.
func checkRefused(t *testing.T, err error, file string) {
	t.Helper()
	if err == nil {
		t.Fatal("it was built")
	}
	failed := k6x.AsError(err)
	if failed.Kind != k6x.BuildFailed || !strings.Contains(failed.Message, "example.com/") || !strings.Contains(failed.Message, file) {
		t.Errorf("%v: %v", failed.Kind, err)
	}
	if text := fmt.Sprint(failed.Message, failed.Hint, failed.Output, failed.Err); strings.Contains(text, secretWord) {
		t.Errorf("the secret is told: %s", text)
	}
}

func TestOutputOfTheAssemblerIsShown(t *testing.T) {
	e := newEngine(t, Config{Tool: standinTool(t, serveExtension(t, "typo", []string{"a.h", "#define WORD MOOV\n", "a.s", "#include \"textflag.h\"\n#include \"a.h\"\nWORD\n"}, nil))})
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "typo@v0.1.0")}, nil, &bytes.Buffer{})
	failure{kind: k6x.BuildFailed, message: []string{"k6/x/typo (example.com/xk6-typo@v0.1.0) does not compile"},
		output: `example.com/xk6-typo@v0.1.0/a.s:3: unrecognized instruction "MOOV"`}.check(t, err)
}

func TestLinesAboutFilesFromOutsideAreNotShown(t *testing.T) {
	e := newEngine(t, Config{Tool: standinTool(t, serveExtension(t, "lines", []string{"a.go", "package ext\n\nvar a int = 0.5\n\n//line /etc/hosts:1\nvar b int = " + secretWord + "\n"}, nil))})
	sink, said := said()
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "lines@v0.1.0")}, sink, &bytes.Buffer{})
	if !strings.Contains(said.String(), "xk6-lines@v0.1.0/a.go:3:13: ") || strings.Contains(said.String(), secretWord) || strings.Contains(said.String(), "/etc") {
		t.Errorf("told meanwhile: %s", said)
	}
	failure{kind: k6x.BuildFailed, message: []string{"xk6-lines@v0.1.0/a.go:3:13: "}, output: "lines left out, as they are about files that are not of the build: 1"}.check(t, err)
	if failed := k6x.AsError(err); strings.Contains(failed.Message+failed.Output, secretWord) || !strings.Contains(failed.Err.Error(), secretWord) {
		t.Errorf("told is %s\n%s\nthe log gets %v", failed.Message, failed.Output, failed.Err)
	}
}

func TestModulesAreCheckedForIncludesOnce(t *testing.T) {
	own := []string{"a.s", "#include \"textflag.h\"\n#include \"inc/a.h\"\nTEXT ·f(SB),NOSPLIT,$0\n\tDONE\n", "inc/a.h", "#define DONE RET\n", "f.go", "package ext\n\nfunc f()\n"}
	e := newEngine(t, Config{Tool: standinTool(t, serveExtension(t, "own", own, []string{"a.s", "#include \"funcdata.h\"\n"}))})
	recipe := e.recipe("v1.0.0", "own@v0.1.0")
	_, report := build(t, e, recipe, nil)
	other := newEngine(t, Config{Tool: e.Tool}) // as in another process
	build(t, other, recipe, nil)
	file, err := os.ReadFile(e.includes.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range report.BuildList {
		line := m.Path + "@" + m.Version + " " + m.Sum
		if !other.includes.has(line) {
			t.Errorf("%s is not known", line)
		}
		if n := strings.Count(string(file), "\n"+line+"\n"); n != 1 {
			t.Errorf("%s is in the file %d times", line, n)
		}
	}
	if len(report.BuildList) != 3 {
		t.Errorf("build list %v", report.BuildList)
	}
}

func fileSize(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestIncludesFileThatWasTorn(t *testing.T) {
	file := filepath.Join(t.TempDir(), includesFile)
	if err := os.WriteFile(file, []byte("\na@v1.0.0 h1:aaaa=\nb@v1.0.0 h1:bb"), 0o644); err != nil {
		t.Fatal(err)
	}
	first, second := &includes{file: file}, &includes{file: file}
	if !first.has("a@v1.0.0 h1:aaaa=") || first.has("b@v1.0.0 h1:bb") || second.has("c@v1.0.0 h1:cccc=") {
		t.Error("not what is in it")
	}
	for _, s := range []*includes{first, second} {
		if err := s.add([]string{"b@v1.0.0 h1:bbbb=", "c@v1.0.0 h1:cccc="}); err != nil {
			t.Fatal(err)
		}
	}
	after := &includes{file: file}
	for _, line := range []string{"a@v1.0.0 h1:aaaa=", "b@v1.0.0 h1:bbbb=", "c@v1.0.0 h1:cccc="} {
		if !after.has(line) {
			t.Errorf("%s is not known", line)
		}
	}
	var many []string
	for i := range maxIncludes + 1 {
		many = append(many, fmt.Sprint(i))
	}
	if err := after.add(many); err != nil {
		t.Fatal(err)
	}
	if err := after.add([]string{"d@v1.0.0 h1:dddd="}); err != nil {
		t.Fatal(err)
	}
	if size := fileSize(t, file); size > 100 || after.has("a@v1.0.0 h1:aaaa=") || !after.has("d@v1.0.0 h1:dddd=") {
		t.Errorf("it grows without bounds: %d bytes", size)
	}
}

func TestDirectoriesMayIncludeWhatTheyLike(t *testing.T) {
	e := newEngine(t, Config{Cage: new(cage.Cage)})
	dir := extension(t, "example.com/xk6-mine", "k6/x/mine", "v1.0.0", "a.s", fmt.Sprintf("#include %q\n", secretFile(t, "#define A 1\n")))
	recipe := e.mine("v1.0.0", "example.com/xk6-mine")
	if says, _ := replace(t, e, recipe, Replacement{Path: "example.com/xk6-mine", Dir: dir}); !strings.Contains(says, "k6/x/mine") {
		t.Errorf("it says %s", says)
	}
}

func TestIncludesOfReplacementsAreChecked(t *testing.T) {
	secret := secretFile(t, "#define A 1\n")
	e := newEngine(t, Config{Tool: standinTool(t, serveExtension(t, "instead", []string{"leak.s", fmt.Sprintf("#include %q\n", secret)}, nil))})
	recipe := e.mine("v1.0.0", "example.com/xk6-instead")
	by := Replacement{Path: "example.com/xk6-instead"}
	by.With.Path, by.With.Version = "example.com/xk6-instead", "v0.1.0"
	var buf bytes.Buffer
	_, err := e.BuildReplaced(t.Context(), recipe, []Replacement{by}, nil, &buf)
	if checkRefused(t, err, "leak.s"); buf.Len() > 0 {
		t.Error("something was written")
	}
}

func TestIncludesOfCgoAreRefused(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no C compiler on PATH: ", err)
	}
	for i, c := range []struct{ secret, include string }{
		{secretWord + "\n", "#include %q"},
		{"#define A 1\n", "#include %q"},
		{secretWord + "\n", "#cgo CFLAGS: -include %s"},
	} {
		secret := secretFile(t, c.secret)
		name := fmt.Sprint("c", i)
		e := newEngine(t, Config{Cgo: true, Tool: standinTool(t, serveExtension(t, name,
			[]string{"leak.go", "package ext\n\n/*\n" + fmt.Sprintf(c.include, secret) + "\n*/\nimport \"C\"\n"}, nil))})
		recipe := e.recipe("v1.0.0", name+"@v0.1.0")
		recipe.Cgo = true
		var buf bytes.Buffer
		_, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &buf)
		if checkRefused(t, err, "leak.go"); buf.Len() > 0 {
			t.Error("something was written")
		}
	}
}

package script

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"k6x"
)

var update = flag.Bool("update", false, "write what the cases in testdata give as what they want")

// Each case is a command line, in the comment of its txtar, the files that are there, and in "want"
// what the command needs.
func TestCases(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "case", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			ar := txtar.Parse(data)
			dir := t.TempDir()
			want := -1
			for i, file := range ar.Files {
				if file.Name == "want" {
					want = i
					continue
				}
				write(t, filepath.Join(dir, filepath.FromSlash(file.Name)), escapes.Replace(string(file.Data)))
			}
			report, err := Analyze(t.Context(), parseInput(t, dir, string(ar.Comment)))
			got := filepath.ToSlash(strings.ReplaceAll(render(t, report, err), dir, "$DIR"))
			if *update {
				if want < 0 {
					want, ar.Files = len(ar.Files), append(ar.Files, txtar.File{Name: "want"})
				}
				ar.Files[want].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want < 0 {
				t.Fatal("the case does not say what it wants")
			}
			if diff := cmp.Diff(string(ar.Files[want].Data), got); diff != "" {
				t.Errorf("wanted (-), got (+):\n%s", diff)
			}
		})
	}
}

// What a txtar cannot have as it is.
var escapes = strings.NewReplacer("<BOM>", bom, "<CR>\n", "\r\n", "<NUL>", "\x00", "<FF>", "\xff")

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func parseInput(t *testing.T, dir, comment string) Input {
	in := Input{Dir: dir}
	env := make(map[string]string)
	in.Env = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for line := range strings.Lines(comment) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "run":
			in.Path = strings.ReplaceAll(rest, "$DIR", filepath.ToSlash(dir))
		case "stdin":
			in.Path, in.Stdin = "-", strings.NewReader(strings.ReplaceAll(rest, `\n`, "\n"))
		case "in":
			in.Dir = filepath.Join(dir, rest)
		case "out":
			in.Outputs = append(in.Outputs, rest)
		case "with":
			in.With = append(in.With, rest)
		case "replace":
			in.Replaced = append(in.Replaced, rest)
		case "x":
			in.Subcommand = rest
		case "env":
			name, value, _ := strings.Cut(rest, "=")
			env[name] = value
		case "", "#":
		default:
			t.Fatalf("unknown verb %q", verb)
		}
	}
	return in
}

func render(t *testing.T, report Report, err error) string {
	var b strings.Builder
	if err != nil {
		e := k6x.AsError(err)
		fmt.Fprintf(&b, "error %s: %s\n", e.Kind, e.Message)
		if e.Hint == "" {
			t.Errorf("the error %q does not say what to do", e.Message)
		}
	}
	for _, need := range report.Needs {
		optional := ""
		if need.Optional {
			optional = " optional"
		}
		fmt.Fprintf(&b, "%s %s%s\n", need.Name, need.Constraint, optional)
		for _, source := range need.Sources {
			fmt.Fprintf(&b, "\t%s: %s\n", source.Where, source.Constraint)
		}
	}
	for _, path := range report.Modules {
		fmt.Fprintf(&b, "module %s\n", path)
	}
	for _, line := range report.Unread {
		fmt.Fprintf(&b, "unread %s\n", line)
	}
	for _, note := range report.Notes {
		fmt.Fprintf(&b, "note %s\n", note)
	}
	return b.String()
}

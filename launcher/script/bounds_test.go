package script

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"k6x"
)

func TestBoundsEndInNotes(t *testing.T) {
	for name, c := range map[string]struct {
		bound  func(*limits)
		script string
		want   string // in the first note
		needs  int
	}{
		"script too large":      {func(l *limits) { l.file = 10 }, `import "k6/x/a";`, "script.js: it was not looked into: it is larger than the 10 B", 0},
		"module too large":      {func(l *limits) { l.file = 30 }, `import "./large.js";`, "large.js: it was not looked into: it is larger than the 30 B", 0},
		"all too large":         {func(l *limits) { l.total = 40 }, `import "./large.js"; /* and */`, "large.js: it was not looked into: it is larger than the 10 B", 0},
		"too many modules":      {func(l *limits) { l.modules = 2 }, `import "./m1.js"; import "./m2.js"; import "k6/x/z"`, `script.js:1: "./m2.js" was not looked into: the script has more than 2 modules`, 0},
		"no time":               {func(l *limits) { l.duration = -1 }, `import "k6/x/a"; import "./m1.js"`, "1 modules or more were not looked into: it took longer than", 1},
		"too deep":              {func(l *limits) { l.depth = 4 }, `import a from "k6/x/a"; [[[[1]]]]`, "script.js: its imports may not all be known: its expressions nest too deeply", 1},
		"too deep, no brackets": {func(l *limits) { l.depth = 8 }, `import a from "k6/x/a"; !!!!!!!!1`, "script.js: its imports may not all be known: its expressions nest too deeply", 1},
		"long, but not deep":    {func(l *limits) { l.depth = 8; l.file = 110 }, `[1,2,3,4,5,6,7,8,9,10]; f(1);f(2);f(3);` + "\nf()\n.g()\n.h()" + `; import "./large.js"`, "large.js: it was", 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "script.js"), c.script)
			write(t, filepath.Join(dir, "large.js"), strings.Repeat(" ", 100)+`import "k6/x/large"`)
			write(t, filepath.Join(dir, "m1.js"), "")
			write(t, filepath.Join(dir, "m2.js"), "")
			bounds := defaults
			c.bound(&bounds)
			report, err := analyze(t.Context(), Input{Dir: dir, Path: "script.js"}, bounds)
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Notes) == 0 || !strings.HasPrefix(report.Notes[0], c.want) {
				t.Errorf("notes %q", report.Notes)
			}
			if len(report.Needs) != c.needs {
				t.Errorf("needs %v", report.Needs)
			}
		})
	}
}

func TestStdinIsBoundedAndItsErrorsAreTold(t *testing.T) {
	bounds := defaults
	bounds.stdin = 10
	_, err := analyze(t.Context(), Input{Path: "-", Stdin: strings.NewReader(strings.Repeat(" ", 11))}, bounds)
	if k6x.KindOf(err) != k6x.Invalid || !strings.Contains(err.Error(), "larger than 10 B") {
		t.Errorf("too much: %v", err)
	}
	_, err = Analyze(t.Context(), Input{Path: "-", Stdin: iotest.ErrReader(os.ErrClosed)})
	if k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("broken: %v", err)
	}
	report, err := Analyze(t.Context(), Input{Path: "-"})
	if err != nil || len(report.Needs) != 0 {
		t.Errorf("none: %v, %v", report, err)
	}
}

// The parser is recursive: what nests too deep would end the process.
func TestNestingThatNeverEndsIsSurvived(t *testing.T) {
	for _, open := range []string{"(", "[", "{", "`${", "function f(){", "x=>{", "!", "a?b:", "a=>", "if(a)", "typeof ", "a.b"} {
		text := `import a from "k6/x/a"; ` + strings.Repeat(open, 1<<17)
		report, err := Analyze(t.Context(), Input{Path: "-", Stdin: strings.NewReader(text)})
		if err != nil || len(report.Notes) != 1 || len(report.Needs) != 1 {
			t.Errorf("%s: %v, notes %q", open, err, report.Notes)
		}
	}
}

func TestManyNotesAreCut(t *testing.T) {
	var text strings.Builder
	for i := range 10 * maxNotes {
		fmt.Fprintf(&text, "require('./nope%d.js');\n", i)
	}
	report, err := Analyze(t.Context(), Input{Path: "-", Stdin: strings.NewReader(text.String())})
	if err != nil || len(report.Notes) != maxNotes {
		t.Errorf("%v, %d notes", err, len(report.Notes))
	}
}

func TestMoreNeedsThanAListHoldsAreAnError(t *testing.T) {
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "import 'k6/x/e%d';\n", i)
	}
	_, err := Analyze(t.Context(), Input{Path: "-", Stdin: strings.NewReader(text.String())})
	if k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestCanceledContextEndsTheAnalysis(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Analyze(ctx, Input{Path: "-", Stdin: strings.NewReader("")})
	if k6x.KindOf(err) != k6x.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege")
	}
	dir := t.TempDir()
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("loop.js", "loop.js")
	link(".", "self")
	link("lib/real.js", "alias.js")
	write(t, filepath.Join(dir, "lib", "real.js"), `import "k6/x/real"; import "./beside.js";`)
	write(t, filepath.Join(dir, "beside.js"), `import "k6/x/beside";`)
	write(t, filepath.Join(dir, "deeper.js"), `import "k6/x/deeper"; require("./self/deeper.js");`)

	for _, c := range []struct{ script, want, err string }{
		{`import "./alias.js"`, "k6/x/beside,k6/x/real", ""}, // from the path of the link
		{`require("./loop.js")`, "", ""},
		{`import "./loop.js"`, "", "loop.js"},
		{`import "./deeper.js"`, "k6/x/deeper", ""}, // each link makes a new path, until there are too many
	} {
		report, err := Analyze(t.Context(), Input{Dir: dir, Path: "-", Stdin: strings.NewReader(c.script)})
		if c.err != "" {
			if k6x.KindOf(err) != k6x.NotFound || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", c.script, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.script, err)
			continue
		}
		list, err := report.List()
		if err != nil || list.String() != c.want {
			t.Errorf("%s: got %s, %v", c.script, list, err)
		}
	}
}

// Between the bound and the end of the stack there is room.
func TestNestingUpToTheBoundIsParsed(t *testing.T) {
	text := `import a from "k6/x/a"; ` + strings.Repeat("(", defaults.depth-100) + "a" + strings.Repeat(")", defaults.depth-100)
	report, err := Analyze(t.Context(), Input{Path: "-", Stdin: strings.NewReader(text)})
	if err != nil || len(report.Needs) != 1 || len(report.Notes) != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

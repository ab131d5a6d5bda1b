package script

import (
	"strings"
	"testing"

	"k6x"
)

// What is read can be written, and is then read as the same.
func FuzzPragma(f *testing.F) {
	for _, seed := range []string{"use k6", "use k6 >= v0.52", "use k6>=0.5, <2", "use k6 with k6/x/faker > 0.2", "use k6 with top>=0.1",
		"use k6 with a~1", "use k6 with git.example/~me/x v1.0.0", "use strict", "use k6 with", "use  k6\twith\u00a0x *"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dep, ok, err := parsePragma(text)
		if err != nil && k6x.KindOf(err) != k6x.Invalid {
			t.Fatalf("%q: %v", text, err)
		}
		if !ok || err != nil {
			return
		}
		written := "use k6 with " + dep.Name + " " + dep.Constraint.String()
		again, ok, err := parsePragma(written)
		if err != nil || !ok || again.String() != dep.String() {
			t.Fatalf("%q is %s; %q is %s, %v", text, dep, written, again, err)
		}
	})
}

func FuzzEnv(f *testing.F) {
	for _, seed := range []string{"k6>=0.52;k6/x/faker>=0.3;top", ";;", "k6 v1.8.1", "xk6-dashboard*", "a@", "a@@1", "a||b", "k6/x/a >1 <2||=3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		deps, err := parseEnv(text)
		if err != nil {
			if k6x.KindOf(err) != k6x.Invalid {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		var items []string
		for _, dep := range deps {
			items = append(items, dep.Name+" "+dep.Constraint.String())
		}
		written := strings.Join(items, ";")
		again, err := parseEnv(written)
		if err != nil || len(again) != len(deps) {
			t.Fatalf("%q: %q is %v, %v", text, written, again, err)
		}
		for i := range deps {
			if again[i].String() != deps[i].String() {
				t.Fatalf("%q: %s is read again as %s", text, deps[i], again[i])
			}
		}
	})
}

// Whatever a script is, its literals are in it, on the line that they are said to be on.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{"", "#!x\n'use k6'", "`a${`b`}c` /'/ \"x\\\ny\"", "x = a / b / 'c'", "/* \n */ 'a'", "'a\\\r\nb' 'c'", "${}`${"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		scan(text, func(lit literal) {
			first, _, _ := strings.Cut(lit.text, "\n")
			if lit.line < 1 || lit.line > len(lines) || !strings.Contains(lines[lit.line-1], first) {
				t.Fatalf("%q: %q is not on line %d", text, lit.text, lit.line)
			}
		})
	})
}

func FuzzAnalyze(f *testing.F) {
	for _, seed := range []string{"import 'k6/x/a'", "\"use k6 > 1\"; require('./x')", "import('../'+x)", "\x00\xff", bom + "#!x", string(testArchive(f)[:4096])} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		report, err := Analyze(t.Context(), Input{Dir: dir, Path: "-", Stdin: strings.NewReader(string(text))})
		if err != nil {
			if kind := k6x.KindOf(err); kind != k6x.Invalid && kind != k6x.NotFound {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if _, err := report.List(); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func BenchmarkAnalyze(b *testing.B) {
	text := `"use k6 >= 0.52"; import http from "k6/http"; import redis from "k6/x/redis"; export default function () { http.get("https://x"); }`
	for b.Loop() {
		if _, err := Analyze(b.Context(), Input{Path: "-", Stdin: strings.NewReader(text)}); err != nil {
			b.Fatal(err)
		}
	}
}

package fast

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder"
)

func TestOnlyPlainPackagesAreCompiledWithoutTheGoCommand(t *testing.T) {
	release := tags{Release: []string{"go1.1", "go1.26"}, Tool: []string{"goexperiment.here"}}
	m := module.Version{Path: "example.com/m", Version: "v1.0.0"}
	linux := k6x.Platform{OS: "linux", Arch: "amd64"}
	for name, c := range map[string]struct {
		files map[string]string
		lang  string
		want  []string // files; nil: it is left to the go command
	}{
		"plain":              {files: map[string]string{"b.go": "package p\nimport \"fmt\"", "a.go": "package p\nimport \"example.com/m/internal/x\""}, want: []string{"a.go", "b.go"}},
		"other systems":      {files: map[string]string{"a.go": "package p", "a_windows.go": "package p", "b_linux.go": "package p"}, want: []string{"a.go", "b_linux.go"}},
		"tags":               {files: map[string]string{"a.go": "//go:build go1.26 && !go1.27\n\npackage p", "b.go": "//go:build cgo\n\npackage p", "c.go": "//go:build goexperiment.here\n\npackage p", "d.go": "//go:build ignore\n\npackage main"}, want: []string{"a.go", "c.go"}},
		"tests":              {files: map[string]string{"a.go": "package p", "a_test.go": "package p_test\nimport \"testing\""}, want: []string{"a.go"}},
		"cgo left out":       {files: map[string]string{"a.go": "package p", "b.go": "package p\nimport \"C\""}, want: []string{"a.go"}},
		"assembly":           {files: map[string]string{"a.go": "package p", "a.s": "TEXT ·f(SB),0,$0"}},
		"assembly elsewhere": {files: map[string]string{"a.go": "package p", "a_arm64.s": "TEXT ·f(SB),0,$0"}, want: []string{"a.go"}},
		"embed":              {files: map[string]string{"a.go": "package p\nimport _ \"embed\"\n//go:embed x\nvar x string", "x": ""}},
		"syso":               {files: map[string]string{"a.go": "package p", "a.syso": ""}},
		"program":            {files: map[string]string{"a.go": "package main"}},
		"two packages":       {files: map[string]string{"a.go": "package p", "b.go": "package q"}},
		"nothing for linux":  {files: map[string]string{"a_windows.go": "package p"}},
		"no go":              {files: map[string]string{"x": ""}},
		"broken":             {files: map[string]string{"a.go": "package p\nimport \"fmt"}},
		"inner of others":    {files: map[string]string{"a.go": "package p\nimport \"go.k6.io/k6/internal/x\""}},
		"inner of go":        {files: map[string]string{"a.go": "package p\nimport \"internal/abi\""}},
		"inner of go, too":   {files: map[string]string{"a.go": "package p\nimport \"crypto/internal/fips140\""}},
		"vendored":           {files: map[string]string{"a.go": "package p\nimport \"example.com/m/vendor/x\""}},
		"relative":           {files: map[string]string{"a.go": "package p\nimport \"./x\""}},
		"no go line":         {files: map[string]string{"a.go": "package p"}, lang: "none"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				if err := os.MkdirAll(filepath.Join(root, "p"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, "p", file), []byte(text+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			lang := "1.21"
			if c.lang == "none" {
				lang = ""
			}
			src, err := scan(root, "example.com/m/p", m, lang, linux, release)
			if (err == nil) != (c.want != nil) {
				t.Fatalf("%+v, %v", src, err)
			}
			if err == nil && !slices.Equal(src.files, c.want) {
				t.Errorf("files %v, want %v", src.files, c.want)
			}
		})
	}
}

// What is compiled here for any platform, from modules of any shape, is what go build makes of it.
func TestWhatIsCompiledHereIsWhatGoBuildCompiles(t *testing.T) {
	url := serveModules(t, map[string]string{
		"example.com/xk6-first@v0.1.0": "-- x.go --\npackage x\n\nimport (\n\t_ \"runtime\"\n)\n",
		"example.com/Lib@v0.1.0": "-- lib.go --\npackage lib\n\nfunc Sum[T int | float64](list ...T) (s T) {\n\tfor _, x := range list {\n\t\ts += x\n\t}\n\treturn s\n}\n" +
			"-- sub/s.go --\npackage sub\n\nfunc Where() { panic(\"here\") }\n",
		"example.com/xk6-many@v0.1.0": requiring("example.com/xk6-many", "example.com/Lib@v0.1.0") + `-- a.go --
package many

import (
	"example.com/Lib"
	"example.com/Lib/sub"
	"example.com/xk6-many/internal/deep"
)

func init() {
	for i := 0; i < 3; i++ {
		defer func() { println(i, deep.Name, lib.Sum(1, 2)) }()
	}
	if len(deep.Name) == 0 {
		sub.Where()
	}
}
-- os_linux.go --
package many

var OS = "linux"

func init() { println(OS) }
-- os_darwin.go --
package many

var OS = "darwin"

func init() { println(OS) }
-- os_windows.go --
package many

var OS = "windows"

func init() { println(OS) }
-- internal/deep/d.go --
package deep

var Name = "deep"
`,
		"example.com/xk6-embeds@v0.1.0":   "-- x.go --\npackage x\n\nimport _ \"embed\"\n\n//go:embed text\nvar text string\n\nfunc init() { println(text) }\n-- text --\nhello\n",
		"example.com/xk6-intrudes@v0.1.0": "-- x.go --\npackage x\n\nimport _ \"internal/abi\"\n",
	})
	dir := warmDir(t)
	e := newEngine(t, url, dir, builder.Resident)
	reference := newNative(t, url, dir, nil) // which always runs go build
	platforms := []k6x.Platform{{OS: "linux", Arch: "amd64"}, {OS: "windows", Arch: "amd64"}, {OS: "darwin", Arch: "arm64"}}
	if os.Getenv("K6X_TEST_FULL") == "" { // the others take a standard library each
		platforms = platforms[:1]
	}
	for _, platform := range platforms {
		recipe := func(names ...string) k6x.Recipe {
			for i, name := range names {
				names[i] = name + "@v0.1.0"
			}
			r := e.recipe("v1.0.0", names...)
			r.Platform = platform
			return r
		}
		makeBinary(t, e, recipe("first"), nil)        // an index
		makeBinary(t, reference, recipe("many"), nil) // downloads what it needs
		for name, left := range map[string]bool{"many": false, "embeds": true} {
			e.log.Reset()
			got, report := makeBinary(t, e, recipe(name), nil)
			if strings.Contains(e.log.String(), "left to go build") != left || strings.Contains(e.log.String(), "level=WARN") {
				t.Errorf("%s for %s: %s", name, platform, e.log)
			}
			truth, wanted := makeBinary(t, reference, recipe(name), nil)
			if !bytes.Equal(got, truth) || report.Lock != wanted.Lock {
				t.Errorf("%s for %s: another binary or lock\n%s%s\n%s%s", name, platform, report.Lock.GoMod, report.Lock.GoSum, wanted.Lock.GoMod, wanted.Lock.GoSum)
			}
			e.log.Reset()
			makeBinary(t, e, recipe(name), nil)
			if e.log.String() != "" {
				t.Errorf("%s for %s, once more: %s", name, platform, e.log)
			}
		}
		e.log.Reset()
		if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe("intrudes")}, nil, &bytes.Buffer{}); k6x.KindOf(err) != k6x.BuildFailed {
			t.Errorf("a package that imports what it may not: %v", err)
		}
	}
}

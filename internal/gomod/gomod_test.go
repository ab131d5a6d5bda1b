package gomod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
)

func TestParseReadsWhatCountsOfADependency(t *testing.T) {
	f, err := Parse([]byte(`module example.com/a

go 1.24.1

toolchain go1.26.0

godebug default=go1.21

unheard of

require (
	example.com/b v1.2.0 // indirect
	example.com/old v2.0.0+incompatible
)

replace example.com/b => ../b

replace (
	"example.com/old" v2.0.0+incompatible => example.com/newer v1.0.0
	example.com/torn =>
	example.com/torn => "\x1b[2Jx"
	=> example.com/torn
)

exclude example.com/b v1.3.0

retract (
	v1.0.0
	[v1.1.0, v1.1.9]
)
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []module.Version{{Path: "example.com/b", Version: "v1.2.0"}, {Path: "example.com/old", Version: "v2.0.0+incompatible"}}
	if f.Path != "example.com/a" || f.Go != "1.24.1" || len(f.Require) != 2 || f.Require[0] != want[0] || f.Require[1] != want[1] {
		t.Errorf("got %+v", f)
	}
	for version, retracted := range map[string]bool{"v1.0.0": true, "v1.0.1": false, "v1.1.0": true, "v1.1.5": true, "v1.2.0": false} {
		if f.Retracted(version) != retracted {
			t.Errorf("%s is retracted: %v", version, !retracted)
		}
	}
	for m, want := range map[module.Version]string{
		want[0]: "its go.mod replaces example.com/b by ../b, and replace counts only in a main module",
		want[1]: "its go.mod replaces example.com/old by example.com/newer@v1.0.0, and replace counts only in a main module",
		{Path: "example.com/old", Version: "v1.0.0"}:  "",
		{Path: "example.com/torn", Version: "v1.0.0"}: "",
	} {
		if by, ok := f.Replaces(m); ok != (want != "") || ok && Ignored(m, by) != want {
			t.Errorf("%s: %v, %s, want %s", m, ok, Ignored(m, by), want)
		}
	}
	if f, err := Parse(nil); err != nil || f.Path != "" || f.Go != "" || f.Require == nil {
		t.Errorf("nothing: %+v, %v", f, err)
	}
}

func TestParseRefusesWhatMakesNoSense(t *testing.T) {
	for name, text := range map[string]string{
		"torn":       "module example.com/a\nrequire (\n",
		"no version": "module example.com/a\nrequire example.com/b\n",
		"a branch":   "module example.com/a\nrequire example.com/b master\n",
		"too large":  strings.Repeat("// x\n", MaxFile/5+1),
	} {
		if f, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
		file := filepath.Join(t.TempDir(), "go.mod")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := Read(file); err == nil {
			t.Errorf("%s, of a file: %+v", name, f)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("module example.com/a\ngo 1.21\nrequire example.com/b v1.0.0\nretract [v1.0.0, v1.1.0]\n"))
	f.Add([]byte("module \"a\nrequire ( a v1 )"))
	f.Add([]byte("replace (\n\ta v1 => b v2\n\t=> =>\n)\nreplace a => \"b\"\nreplace x (\n\ta\n)\n(\n)\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if (file == nil) == (err == nil) {
			t.Fatalf("%v, %v", file, err)
		}
		if file != nil {
			file.Retracted("v1.0.0")
			file.pruned()
		}
	})
}

package gomod

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/module"
)

// write writes a file below dir.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	name = filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCacheReadsOnlyWhatIsThereAndSound(t *testing.T) {
	c := &Cache{Dir: t.TempDir()}
	const at = "cache/download/"
	write(t, c.Dir, at+"example.com/a/@v/v1.0.0.mod", "module example.com/a\nrequire (\n\texample.com/b v1.0.0\n\t../../evil v1.0.0\n)\n")
	write(t, c.Dir, at+"example.com/a/@v/v1.0.0.ziphash", "h1:abc=\n")
	write(t, c.Dir, at+"example.com/!b!i!g/@v/v1.0.0.mod", "module example.com/BIG\nrequire example.com/c v1.10.0\n")
	write(t, c.Dir, at+"example.com/c/@v/v1.2.0.mod", "module example.com/c\nrequire (\n")
	for path, want := range map[string]int{"example.com/a": 2, "example.com/BIG": 1, "example.com/c": -1, "example.com/gone": -1, "../../evil": -1} {
		version := "v1.0.0"
		if path == "example.com/c" {
			version = "v1.2.0"
		}
		f := c.GoMod(module.Version{Path: path, Version: version})
		if want < 0 && f != nil || want > 0 && (f == nil || len(f.Require) != want) {
			t.Errorf("%s: %+v", path, f)
		}
	}
	a := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	if sum := c.Sum(a); sum != "h1:abc=" {
		t.Errorf("its sum is %q", sum)
	}
	if sum := c.Sum(module.Version{Path: "example.com/a", Version: "../../x"}); sum != "" {
		t.Errorf("the sum of no version is %q", sum)
	}

	first := c.GoMod(a)
	write(t, c.Dir, at+"example.com/a/@v/v1.0.0.mod", "module example.com/a\n")
	if again := c.GoMod(a); again != first {
		t.Error("it was read twice")
	}
	c.Forget()
	if f := c.GoMod(a); f == nil || len(f.Require) != 0 {
		t.Errorf("it was not read anew: %+v", f)
	}
}

// While the go command extracts a module, it cannot be known what is not in it.
func TestModuleThatIsBeingExtractedIsNotThere(t *testing.T) {
	c := &Cache{Dir: t.TempDir()}
	m := module.Version{Path: "example.com/M", Version: "v1.0.0"}
	if _, err := c.Extracted(m); !errors.Is(err, ErrNotExtracted) {
		t.Errorf("no files: %v", err)
	}
	write(t, c.Dir, "example.com/!m@v1.0.0/go.mod", "")
	if root, err := c.Extracted(m); err != nil || root != filepath.Join(c.Dir, "example.com", "!m@v1.0.0") {
		t.Errorf("%s, %v", root, err)
	}
	write(t, c.Dir, "cache/download/example.com/!m/@v/v1.0.0.partial", "")
	if _, err := c.Extracted(m); !errors.Is(err, ErrNotExtracted) {
		t.Errorf("it is being extracted: %v", err)
	}
	for _, m := range []module.Version{{Path: "../evil", Version: "v1.0.0"}, {Path: "example.com/M", Version: "../v1"}} {
		if root, err := c.Extracted(m); err == nil {
			t.Errorf("%s is in %s", m, root)
		}
	}
}

package native

import (
	"errors"
	"fmt"
	gopkg "go/build"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
)

// maxUnits bounds how many packages are compiled for one binary; more are left to the go command, which
// compiles several at once.
const maxUnits = 16

// source is a package that nothing but the compiler is needed for, and that no kit knows.
type source struct {
	dir     string
	files   []string
	std     []string // imports of the standard library
	imports []string // all others
	lang    string   // go version of its module
}

var errNotPlain = errors.New("more than the compiler is needed")

// tags are the build tags that a toolchain has for a platform.
type tags struct {
	Release []string // go1.1, go1.2, …
	Tool    []string // of experiments and instruction sets
}

// scan reads what package pkg of module m is made of. What the go command might refuse or do in another way is an error.
func scan(root, pkg string, m module.Version, lang string, platform k6x.Platform, t tags) (*source, error) {
	if lang == "" || t.Release == nil {
		return nil, errNotPlain
	}
	c := gopkg.Context{
		GOOS: platform.OS, GOARCH: platform.Arch, Compiler: "gc", ReleaseTags: t.Release, ToolTags: t.Tool,
		GOROOT: string(filepath.Separator) + "nowhere", GOPATH: string(filepath.Separator) + "nowhere",
	}
	dir := filepath.Join(root, filepath.FromSlash(strings.TrimPrefix(pkg, m.Path)))
	p, err := c.ImportDir(dir, gopkg.IgnoreVendor)
	if err != nil {
		return nil, err
	}
	others := slices.Concat(p.CgoFiles, p.CFiles, p.CXXFiles, p.MFiles, p.HFiles, p.FFiles, p.SFiles, p.SwigFiles, p.SwigCXXFiles, p.SysoFiles,
		p.InvalidGoFiles, p.EmbedPatterns)
	if len(others) > 0 || p.Name == "main" || len(p.GoFiles) == 0 {
		return nil, errNotPlain
	}
	s := &source{dir: dir, files: p.GoFiles, lang: lang}
	for _, path := range p.Imports {
		first, _, _ := strings.Cut(path, "/")
		switch {
		case path == "unsafe":
		case path == "C" || gopkg.IsLocalImport(path) || strings.HasPrefix(path, "/"):
			return nil, errNotPlain
		case !mayImport(pkg, path):
			return nil, fmt.Errorf("%s imports %s: %w", pkg, path, errNotPlain)
		case !strings.Contains(first, "."):
			s.std = append(s.std, path)
		default:
			s.imports = append(s.imports, path)
		}
	}
	return s, nil
}

// mayImport reports whether importer may import a package, as the rule of internal packages has it.
func mayImport(importer, path string) bool {
	elements := strings.Split(path, "/")
	last := -1
	for i, element := range elements {
		if element == "internal" {
			last = i
		}
		if element == "vendor" {
			return false
		}
	}
	if last < 0 {
		return true
	}
	parent := strings.Join(elements[:last], "/")
	return parent != "" && strings.Contains(elements[0], ".") && (importer == parent || strings.HasPrefix(importer, parent+"/"))
}

// extracted returns where the files of m are, if all of them are.
func extracted(modCache string, m module.Version) (root string, err error) {
	partial, root, err := downloaded(modCache, m, ".partial") // the go command's mark while it extracts a module
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(root); err != nil {
		return "", fmt.Errorf("%s: %w", m, errUnknown)
	}
	if _, err := os.Stat(partial); err == nil {
		return "", fmt.Errorf("%s is being extracted: %w", m, errUnknown)
	}
	return root, nil
}

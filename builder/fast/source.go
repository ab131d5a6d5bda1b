package fast

import (
	"errors"
	"fmt"
	gopkg "go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/module"

	"k6x"
)

// maxCompiles bounds how many packages are compiled for one binary; more are left to the go command, which
// compiles several at once.
const maxCompiles = 16

// source is a package that nothing but the compiler is needed for, and that no index has.
type source struct {
	path    string
	module  module.Version
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

// scan reads what package pkg of module m is made of. What the go command might refuse or do in another way is an error, and so is what
// looks odd: rules of the go command are not made anew here, but kept away from.
func scan(root, pkg string, m module.Version, lang string, platform k6x.Platform, t tags) (*source, error) {
	if lang == "" || t.Release == nil || !plainPath(pkg) {
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
	if len(others) > 0 || p.Name == "main" || len(p.GoFiles) == 0 || p.BinaryOnly || slices.ContainsFunc(p.Directives, isGoDebug) {
		return nil, errNotPlain
	}
	if err := checkFiles(c, dir); err != nil {
		return nil, err
	}
	s := &source{path: pkg, module: m, dir: dir, files: p.GoFiles, lang: lang}
	for _, path := range p.Imports {
		first, _, _ := strings.Cut(path, "/")
		switch {
		case path == "unsafe":
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

func isGoDebug(d gopkg.Directive) bool { return strings.HasPrefix(d.Text, "//go:debug") }

// checkFiles returns an error if the go command might refuse a package for a file in its directory: it reads them all, also those
// that are for tests or for other platforms.
func checkFiles(c gopkg.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	c.UseAllFiles = true
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || name[0] == '.' || name[0] == '_' {
			continue
		}
		if entry.Type()&fs.ModeType != 0 || !isAlphanumeric(name[0]) {
			return fmt.Errorf("a file is called %s: %w", name, errNotPlain)
		}
		if _, err := c.MatchFile(dir, name); err != nil { // build constraints, of C as well
			return err
		}
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		if f.Name.Name == "documentation" { // not compiled, but what it imports has to be there
			return fmt.Errorf("%s is documentation: %w", name, errNotPlain)
		}
		for _, spec := range f.Imports {
			if path, err := strconv.Unquote(spec.Path.Value); err != nil || !plainPath(path) {
				return fmt.Errorf("%s imports %s: %w", name, spec.Path.Value, errNotPlain)
			}
		}
	}
	return nil
}

// plainPath reports whether the go command would have nothing to say about an import path, or about a directory of that name.
func plainPath(path string) bool {
	for element := range strings.SplitSeq(path, "/") {
		if element == "" || !isAlphanumeric(element[0]) {
			return false
		}
	}
	return module.CheckImportPath(path) == nil
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
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

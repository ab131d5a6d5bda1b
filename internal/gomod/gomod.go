// Package gomod reads go.mod files of modules that strangers write, and selects versions as the go command does.
//
// A [File] is what matters of one go.mod ([Parse]). A [Cache] has those that the go command has downloaded, and a [Proxy] fetches them by
// the rules of GOPROXY. A [Loader] follows them from some modules on: to the versions of minimal version selection
// (https://go.dev/ref/mod#minimal-version-selection), and to all modules that require one.
//
// The files: gomod.go and sum.go read go.mod and go.sum, graph.go is the loader, cache.go the module cache. hops.go reads GOPROXY and goes
// from one of its elements to the next: mirror.go is a module proxy, with credentials of netrc.go, and direct.go the go command.
package gomod

import (
	"fmt"
	"go/version"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"k6x"
	"k6x/internal/disk"
)

// Bounds on what is read of go.mod files.
const (
	MaxFile    = 16 << 20 // bytes, as the go command has it
	MaxGraph   = 20_000   // module versions that a [Loader] follows in the files that are here
	MaxFetched = 4000     // the same if each is fetched
)

// File is what matters of one go.mod file that belongs to no main module: what it replaces and excludes does not count then.
type File struct {
	Path     string            // that the module gives itself; "" if it gives none
	Go       string            // its go line, such as 1.24.0; "" if it has none
	Require  []module.Version  // as they stand there
	Replace  []modfile.Replace // the first of them; for what explains why it does not count, and for a directory of the user's own
	retracts []modfile.VersionInterval
}

// Bounds on what is kept of one file's replace directives.
const (
	maxReplace = 100
	maxWord    = 500 // bytes
)

// noGoLine is the version that the go command takes a file without a go line for.
const noGoLine = "1.16"

// Parse reads a go.mod file as the go command reads that of a dependency.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxFile)
	}
	parsed, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		return nil, err
	}
	// What is kept is cloned, so that it does not hold the whole file in memory.
	f := &File{Require: make([]module.Version, len(parsed.Require))}
	if parsed.Module != nil {
		f.Path = strings.Clone(parsed.Module.Mod.Path)
	}
	if parsed.Go != nil {
		f.Go = strings.Clone(parsed.Go.Version)
	}
	for i, r := range parsed.Require {
		f.Require[i] = module.Version{Path: strings.Clone(r.Mod.Path), Version: strings.Clone(r.Mod.Version)}
	}
	f.addReplaces(parsed.Syntax)
	for _, r := range parsed.Retract {
		f.retracts = append(f.retracts, modfile.VersionInterval{Low: strings.Clone(r.Low), High: strings.Clone(r.High)})
	}
	return f, nil
}

// addReplaces adds the replace directives, which the parser passes over in a file that is not the main module's.
func (f *File) addReplaces(syntax *modfile.FileSyntax) {
	add := func(words []string) {
		i := slices.Index(words, "=>")
		if i < 1 || i > 2 || len(words) < i+2 || len(words) > i+3 || len(f.Replace) == maxReplace {
			return
		}
		words = slices.Clone(words)
		for j, word := range words {
			if unquoted, err := strconv.Unquote(word); err == nil {
				word = unquoted
			}
			if words[j] = strings.Clone(word); word != k6x.Printable(word) || len(word) > maxWord { // it is for a person
				return
			}
		}
		side := func(words []string) module.Version {
			return module.Version{Path: words[0], Version: strings.Join(words[1:], "")}
		}
		f.Replace = append(f.Replace, modfile.Replace{Old: side(words[:i]), New: side(words[i+1:])})
	}
	for _, statement := range syntax.Stmt {
		switch s := statement.(type) {
		case *modfile.Line:
			if s.Token[0] == "replace" {
				add(s.Token[1:])
			}
		case *modfile.LineBlock:
			for _, line := range s.Line {
				if s.Token[0] == "replace" {
					add(line.Token)
				}
			}
		}
	}
}

// Replaces returns what the file would have in the place of m if its module were the main one.
func (f *File) Replaces(m module.Version) (by module.Version, ok bool) {
	for _, r := range f.Replace {
		if r.Old.Path == m.Path && (r.Old.Version == "" || r.Old.Version == m.Version) {
			return r.New, true
		}
	}
	return module.Version{}, false
}

// Ignored returns the words for a module that a go.mod file would replace by another one, or by a directory, in vain.
func Ignored(m, by module.Version) string {
	return fmt.Sprintf("its go.mod replaces %s by %s, and replace counts only in a main module", m.Path, strings.TrimSuffix(by.String(), "@"))
}

// Useless is the error for a module version that is there, with a go.mod file of no use.
type Useless struct {
	Reason   string // goes on after the name of the module
	Declared string // the path of a module that has another name; "" if it has none
}

// OtherPath returns the error for a go.mod file with another path than the module is known by.
func OtherPath(declared, required string) *Useless {
	declared = k6x.Printable(declared[:min(len(declared), maxWord)])
	return &Useless{fmt.Sprintf("declares its path as %s, but was required as %s", declared, required), declared}
}

func (u *Useless) Error() string { return u.Reason }

// Unwrap returns ErrAbsent: no other proxy would have a better one.
func (*Useless) Unwrap() error { return ErrAbsent }

// Read is [Parse] of what a file has.
func Read(name string) (*File, error) {
	data, err := disk.ReadFile(name, MaxFile)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Retracted reports whether the file retracts a version of its module.
func (f *File) Retracted(version string) bool {
	for _, r := range f.retracts {
		if semver.Compare(r.Low, version) <= 0 && semver.Compare(version, r.High) <= 0 {
			return true
		}
	}
	return false
}

// pruned reports whether the file says all that is needed of its module, so that those that it requires need not be
// followed (https://go.dev/ref/mod#graph-pruning).
func (f *File) pruned() bool { return f.Go != "" && compareGo(f.Go, "1.17") >= 0 }

func compareGo(a, b string) int { return version.Compare("go"+a, "go"+b) }

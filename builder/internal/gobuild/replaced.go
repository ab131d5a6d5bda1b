package gobuild

import (
	"context"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// Replacement is what a module is replaced by: a directory or another module.
type Replacement struct {
	Path    string         // of the module that is replaced
	Dir     string         // absolute, with a go.mod; "" if there is With
	With    module.Version // if there is no Dir; of Replacements also a Dir, as its path without a version
	Fetched bool           // Dir is not the user's: what its go.mod has to say of other directories does not count

	// Of what the go.mod in the Dir of another one replaces, which counts as if that was the main module's:
	By      string // the directory; "": the user named the replacement
	Version string // the one version that is replaced; "": each
}

// String returns module => what replaces it.
func (r Replacement) String() string { return r.Path + " => " + r.With.String() }

// label returns the words for a person: the names that the module was asked for as, too.
func (r Replacement) label(recipe k6x.Recipe) string {
	for _, m := range Modules(recipe) {
		if m.Path == r.Path && len(m.Names) > 0 {
			return strings.Join(m.Names, ", ") + " (" + r.String() + ")"
		}
	}
	return r.String()
}

// Replacements are the modules that are replaced, by their path.
type Replacements map[string]Replacement

// NewReplacements checks what the caller asks for, and adds what the go.mod files of the directories replace. What the caller names counts
// more than these.
func NewReplacements(list []Replacement) (Replacements, error) {
	if len(list) == 0 {
		return nil, k6x.Errorf(k6x.Invalid, "there is no module to replace")
	}
	replaced := make(Replacements, len(list))
	var implied []Replacement
	for _, r := range list {
		file, err := replaced.add(r)
		if err != nil {
			return nil, err
		}
		if file != nil {
			implied = append(implied, r.implied(file)...)
		}
	}
	for _, r := range implied {
		if named, ok := replaced[r.Path]; ok && named.By == "" {
			continue
		}
		if _, err := replaced.add(r); err != nil {
			e := *k6x.AsError(err)
			e.Message = "the go.mod of " + r.By + ": " + e.Message
			return nil, e.WithHint("Name what is meant: --replace %s=DIRECTORY, or module@version.", r.Path)
		}
	}
	return replaced, nil
}

// add checks a replacement and adds it. It returns the go.mod of a directory.
func (rs Replacements) add(r Replacement) (*gomod.File, error) {
	if err := module.CheckImportPath(r.Path); err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "%q is not a module that can be replaced", r.Path).WithCause(err)
	}
	if r.Dir != "" {
		r.Dir = filepath.Clean(r.Dir)
		r.With = module.Version{Path: r.Dir}
	}
	if first, again := rs[r.Path]; again && first.With != r.With {
		return nil, k6x.Errorf(k6x.Invalid, "%s is replaced twice, by %s and by %s", r.Path, first.With, r.With)
	} else if !again {
		rs[r.Path] = r
	}
	if r.Dir == "" {
		if err := module.Check(r.With.Path, r.With.Version); err != nil {
			return nil, k6x.Errorf(k6x.Invalid, "%s cannot be replaced by %s, which is not a module", r.Path, r.With).WithCause(err)
		}
		return nil, nil
	}
	if !filepath.IsAbs(r.Dir) {
		return nil, k6x.Errorf(k6x.Invalid, "%s cannot be replaced by %s, which is not an absolute path", r.Path, r.Dir)
	}
	if r.By != "" { // which may be of no use to this build
		return nil, nil
	}
	file, err := gomod.Read(filepath.Join(r.Dir, "go.mod"))
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "%s cannot be replaced by %s, whose go.mod cannot be read: %w", r.Path, r.Dir, err).
			WithHint("Name a directory with a Go module.")
	}
	return file, nil
}

// implied returns what the go.mod of r's directory replaces.
func (r Replacement) implied(file *gomod.File) []Replacement {
	var list []Replacement
	for _, own := range file.Replace {
		also := Replacement{Path: own.Old.Path, Version: own.Old.Version, With: own.New, By: r.Dir, Fetched: r.Fetched}
		if own.New.Version == "" {
			also.Dir = filepath.FromSlash(own.New.Path)
			if r.Fetched && !filepath.IsLocal(also.Dir) {
				continue
			}
			if !filepath.IsAbs(also.Dir) {
				also.Dir = filepath.Join(r.Dir, also.Dir)
			}
		}
		list = append(list, also)
	}
	return list
}

// of returns what m is replaced by; nil if it is not.
func (rs Replacements) of(m module.Version) *Replacement {
	if r, ok := rs[m.Path]; ok && (r.Version == "" || r.Version == m.Version) {
		return &r
	}
	return nil
}

// Versioned returns the recipe with some version for the replaced modules that have none: one
// below all others, so that it raises nothing.
func (rs Replacements) Versioned(recipe k6x.Recipe) k6x.Recipe {
	recipe.Extensions = slices.Clone(recipe.Extensions)
	some := func(m *k6x.Module) {
		if _, ok := rs[m.Path]; ok && m.Version == "" {
			_, major, _ := module.SplitPathVersion(m.Path)
			m.Version = module.ZeroPseudoVersion(module.PathMajorPrefix(major))
		}
	}
	some(&recipe.K6)
	for i := range recipe.Extensions {
		some(&recipe.Extensions[i])
	}
	return recipe
}

// GoMod returns the go.mod with the pins and the replacements.
func (rs Replacements) GoMod(recipe k6x.Recipe) (string, error) {
	f, err := modfile.Parse("go.mod", []byte(GoMod(recipe)), nil)
	if err != nil {
		return "", err
	}
	for _, path := range slices.Sorted(maps.Keys(rs)) {
		r := rs[path]
		if err := f.AddReplace(path, r.Version, r.With.Path, r.With.Version); err != nil {
			return "", err
		}
	}
	return string(modfile.Format(f.Syntax)), nil
}

// Reader returns what reads the go.mod of a module: that of what replaces it.
func (rs Replacements) Reader(mods *gomod.Cache) func(context.Context, module.Version) (*gomod.File, error) {
	return func(_ context.Context, m module.Version) (*gomod.File, error) {
		switch r := rs.of(m); {
		case r == nil:
			return mods.GoMod(m), nil
		case r.Dir == "":
			return mods.GoMod(r.With), nil
		default:
			f, _ := gomod.Read(filepath.Join(r.Dir, "go.mod")) // it was there when it was checked
			return f, nil
		}
	}
}

// Dirs returns the directories that modules are replaced by.
func (rs Replacements) Dirs() []string {
	var list []string
	for _, r := range rs {
		if r.Dir != "" {
			list = append(list, r.Dir)
		}
	}
	return list
}

// Module returns the module whose files stand for those of m, unless it is a directory that does.
func (rs Replacements) Module(m module.Version) module.Version {
	if r := rs.of(m); r != nil {
		return r.With
	}
	return m
}

// Has reports whether m is replaced.
func (rs Replacements) Has(m module.Version) bool { return rs.of(m) != nil }

// Dir returns the directory that m is replaced by; "" if there is none.
func (rs Replacements) Dir(m module.Version) string {
	if r := rs.of(m); r != nil {
		return r.Dir
	}
	return ""
}

// Root returns the directory with the files of a module.
func (rs Replacements) Root(mods *gomod.Cache, m module.Version) (string, error) {
	if dir := rs.Dir(m); dir != "" {
		return dir, nil
	}
	return mods.Root(rs.Module(m))
}

// holds reports whether a linked module is replaced if, and only if, it was to be, and by what.
func (rs Replacements) holds(dep *debug.Module) bool {
	r := rs.of(module.Version{Path: dep.Path, Version: dep.Version})
	if r == nil || dep.Replace == nil {
		return r == nil && dep.Replace == nil
	}
	return dep.Replace.Path == r.With.Path && (r.Dir != "" || dep.Replace.Version == r.With.Version)
}

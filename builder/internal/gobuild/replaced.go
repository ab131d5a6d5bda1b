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
	Path string         // of the module that is replaced
	Dir  string         // absolute, with a go.mod; "" if there is With
	With module.Version // if there is no Dir
}

// String returns module => what replaces it.
func (r Replacement) String() string { return r.Path + " => " + r.by() }

func (r Replacement) by() string {
	if r.Dir != "" {
		return r.Dir
	}
	return r.With.String()
}

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

// NewReplacements checks what the caller asks for.
func NewReplacements(list []Replacement) (Replacements, error) {
	if len(list) == 0 {
		return nil, k6x.Errorf(k6x.Invalid, "there is no module to replace")
	}
	replaced := make(Replacements, len(list))
	for _, r := range list {
		if err := module.CheckPath(r.Path); err != nil {
			return nil, k6x.Errorf(k6x.Invalid, "%q is not a module that can be replaced", r.Path).WithCause(err)
		}
		if r.Dir != "" {
			r.Dir = filepath.Clean(r.Dir)
		}
		if first, again := replaced[r.Path]; again && first != r {
			return nil, k6x.Errorf(k6x.Invalid, "%s is replaced twice, by %s and by %s", r.Path, first.by(), r.by())
		}
		replaced[r.Path] = r
		if r.Dir == "" {
			if err := module.Check(r.With.Path, r.With.Version); err != nil {
				return nil, k6x.Errorf(k6x.Invalid, "%s cannot be replaced by %s, which is not a module", r.Path, r.With).WithCause(err)
			}
			continue
		}
		if !filepath.IsAbs(r.Dir) {
			return nil, k6x.Errorf(k6x.Invalid, "%s cannot be replaced by %s, which is not an absolute path", r.Path, r.Dir)
		}
		if _, err := gomod.Read(filepath.Join(r.Dir, "go.mod")); err != nil {
			return nil, k6x.Errorf(k6x.Invalid, "%s cannot be replaced by %s, whose go.mod cannot be read: %w", r.Path, r.Dir, err).
				WithHint("Name a directory with a Go module.")
		}
	}
	return replaced, nil
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
		to := r.With
		if r.Dir != "" {
			to = module.Version{Path: r.Dir}
		}
		if err := f.AddReplace(path, "", to.Path, to.Version); err != nil {
			return "", err
		}
	}
	return string(modfile.Format(f.Syntax)), nil
}

// Reader returns what reads the go.mod of a module: that of what replaces it.
func (rs Replacements) Reader(mods *gomod.Cache) func(context.Context, module.Version) (*gomod.File, error) {
	return func(_ context.Context, m module.Version) (*gomod.File, error) {
		switch r, ok := rs[m.Path]; {
		case !ok:
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

// Module returns the module whose files stand for those of m, unless that is a directory.
func (rs Replacements) Module(m module.Version) module.Version {
	if r, ok := rs[m.Path]; ok {
		return r.With
	}
	return m
}

// Root returns the directory with the files of a module.
func (rs Replacements) Root(mods *gomod.Cache, m module.Version) (string, error) {
	if r := rs[m.Path]; r.Dir != "" {
		return r.Dir, nil
	}
	return mods.Root(rs.Module(m))
}

// holds reports whether a linked module is replaced if, and only if, it was to be, and by what.
func (rs Replacements) holds(dep *debug.Module) bool {
	r, ok := rs[dep.Path]
	switch {
	case !ok || dep.Replace == nil:
		return !ok && dep.Replace == nil
	case r.Dir != "":
		return dep.Replace.Path == r.Dir
	}
	return dep.Replace.Path == r.With.Path && dep.Replace.Version == r.With.Version
}

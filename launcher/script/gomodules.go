package script

import (
	"maps"
	"slices"

	"k6x"
)

// userMention is mention for a dependency that the user has named.
func (a *analysis) userMention(dep k6x.Dependency, where string) {
	a.byUser[dep.Name] = true
	a.mention(dep, where)
}

// goModules returns the Go modules that the user named. A script, an archive or a file beside them may
// choose among the extensions of the registry; a module path would be code without any vetting, compiled
// and run here. So one that the user did not name is an error of kind [k6x.Forbidden].
func (a *analysis) goModules() ([]string, error) {
	for _, m := range a.mentions {
		if name := m.dep.Name; k6x.IsModulePath(name) && !a.byUser[name] {
			return nil, k6x.Errorf(k6x.Forbidden, "%s: the Go module %s is asked for, which only you can choose", m.where, name).
				WithHint("If you trust its code, allow it with --with %s; what the registry has is asked for by its name there.", name)
		}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(a.byUser)), func(name string) bool { return !k6x.IsModulePath(name) }), nil
}

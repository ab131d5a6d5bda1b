package script

import (
	"maps"
	"regexp"
	"slices"

	"github.com/Masterminds/semver/v3"

	"k6x"
)

// mention is one place that names one dependency.
type mention struct {
	dep      k6x.Dependency
	where    string
	optional bool // code loads it, which may do without
}

func (a *analysis) mention(dep k6x.Dependency, where string) {
	a.named[dep.Name] = true
	a.mentions = append(a.mentions, mention{dep: dep, where: where})
}

// merge makes one need of all mentions of a name. A mention without a constraint adds none; two
// with constraints that differ are an error of kind [k6x.Invalid] that names both.
func merge(mentions []mention) ([]Need, error) {
	var needs []Need
	index := make(map[string]int)
	for _, m := range mentions {
		source := Source{Where: m.where, Constraint: m.dep.Constraint}
		i, again := index[m.dep.Name]
		if !again {
			index[m.dep.Name] = len(needs)
			needs = append(needs, Need{Dependency: m.dep, Sources: []Source{source}, Optional: m.optional})
			continue
		}
		need := &needs[i]
		need.Optional = need.Optional && m.optional
		if source.Constraint.Any() || slices.Contains(need.Sources, source) {
			continue
		}
		if need.Constraint.Any() {
			need.Constraint = source.Constraint
		} else if normal(need.Constraint) != normal(source.Constraint) {
			first := need.Sources[slices.IndexFunc(need.Sources, func(s Source) bool { return !s.Constraint.Any() })]
			return nil, k6x.Errorf(k6x.Invalid, "%s is asked for as %s (%s) and as %s (%s)",
				need.Name, first.Constraint, first.Where, source.Constraint, source.Where).
				WithHint("Write the same constraint in both places, or leave it out in one of them.")
		}
		need.Sources = append(need.Sources, source)
	}
	slices.SortFunc(needs, func(a, b Need) int { return k6x.CompareNames(a.Name, b.Name) })
	return needs, nil
}

var (
	plainEqual = regexp.MustCompile(`(^|[ |])=`)
	plainV     = regexp.MustCompile(`(^|[^0-9A-Za-z.+-])v`)
)

// normal returns a form of c in which "=v1.2" and "1.2", ">= 1, <2" and ">=v1 <2" are the same.
func normal(c k6x.Constraint) string {
	text := c.String()
	if parsed, err := semver.NewConstraint(text); err == nil {
		text = parsed.String()
	}
	return plainV.ReplaceAllString(plainEqual.ReplaceAllString(text, "$1"), "$1")
}

// at puts where before the message of err.
func at(where string, err error) *k6x.Error {
	e := *k6x.AsError(err)
	e.Message = where + ": " + e.Message
	return &e
}

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

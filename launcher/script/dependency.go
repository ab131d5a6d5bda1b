package script

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/Masterminds/semver/v3"

	"k6x"
)

// envDependencies is the variable with a list of dependencies such as "k6>=0.52;k6/x/faker>=0.3;top".
const envDependencies = "K6_DEPENDENCIES"

// envDefaults is the variable of k6 with constraints for dependencies that have none, such as {"k6":"=v1.8.1","k6/x/faker":">=0.3"}.
const envDefaults = "K6_DEPENDENCIES_MANIFEST"

const maxEnv = 16 << 10 // bytes in that variable

// parseDependency reads a name with or without a constraint: "top", "k6>=0.52", "k6/x/faker > 0.2",
// "k6/x/faker@v0.3.0". Errors are of kind [k6x.Invalid].
func parseDependency(text string) (k6x.Dependency, error) {
	text = strings.TrimSpace(text)
	end := len(text)
	for i, r := range text {
		// A tilde that starts an element belongs to a module path; elsewhere it is an operator.
		if unicode.IsSpace(r) || strings.ContainsRune("<>=!^*@|,", r) || r == '~' && (i == 0 || text[i-1] != '/') {
			end = i
			break
		}
	}
	return k6x.NewDependency(text[:end], strings.TrimPrefix(strings.TrimSpace(text[end:]), "@"))
}

// parseEnv reads the value of K6_DEPENDENCIES. Errors are of kind [k6x.Invalid].
func parseEnv(text string) ([]k6x.Dependency, error) {
	if len(text) > maxEnv {
		return nil, k6x.Errorf(k6x.Invalid, "the list is longer than %d characters", maxEnv)
	}
	var deps []k6x.Dependency
	for item := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		dep, err := parseDependency(item)
		if err != nil {
			return nil, err
		}
		deps = append(deps, dep)
	}
	return deps, nil
}

// parsePragma reads the text of a string that is a statement of its own: "use k6 >= v0.52" or
// "use k6 with k6/x/faker > 0.2". ok is false if it is no pragma. Errors are of kind [k6x.Invalid].
func parsePragma(text string) (dep k6x.Dependency, ok bool, err error) {
	rest, found := strings.CutPrefix(strings.TrimSpace(text), "use")
	if !found || strings.TrimLeftFunc(rest, unicode.IsSpace) == rest {
		return dep, false, nil
	}
	rest, found = strings.CutPrefix(strings.TrimSpace(rest), k6x.K6)
	if !found || rest != "" && isWord(rest[0]) {
		return dep, false, nil
	}
	if words := strings.Fields(rest); len(words) > 0 && words[0] == "with" {
		dep, err = parseDependency(strings.TrimPrefix(strings.TrimSpace(rest), "with"))
	} else {
		dep.Name = k6x.K6
		dep.Constraint, err = k6x.ParseConstraint(rest)
	}
	if err != nil {
		e := k6x.AsError(err)
		return dep, true, e.WithHint(`Pragmas are written "use k6 >= v0.52" or "use k6 with k6/x/faker > 0.2".`)
	}
	return dep, true, nil
}

// builtinOutputs are the outputs that are part of k6 v1.8.1, by internal/cmd/outputs.go there.
// kafka, statsd and datadog were, and k6 refuses extensions of these names, naming replacements.
var builtinOutputs = []string{
	"cloud", "csv", "experimental-opentelemetry", "experimental-prometheus-rw", "influxdb", "json",
	"opentelemetry", "summary", "web-dashboard",
	"datadog", "kafka", "statsd",
}

type output struct{ name, where string }

// outputs returns the outputs that need an extension. As in k6, flags come before the variable K6_OUT.
func outputs(in Input) []output {
	values, where := in.Outputs, "--out"
	if len(values) == 0 {
		text, _ := in.Env("K6_OUT")
		values, where = strings.Split(text, ","), "K6_OUT"
	}
	var found []output
	for _, value := range values {
		name, _, _ := strings.Cut(value, "=")
		name = strings.TrimSpace(name)
		if name != "" && !slices.Contains(builtinOutputs, name) {
			found = append(found, output{name, where})
		}
	}
	return found
}

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

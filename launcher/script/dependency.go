package script

import (
	"slices"
	"strings"
	"unicode"

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

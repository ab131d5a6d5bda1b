package script

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"k6x"
	"k6x/internal/disk"
)

const maxManifest = 1 << 20 // bytes in a package.json

// manifest takes in the dependencies of the nearest package.json at or above dir that names k6 or k6/x/NAME: these, and
// of the other names, which are those of npm, only those that some other source asks for. Whatever else npm and its kin make of such
// a file is no error: what is not understood is noted.
func (a *analysis) manifest(dir string) {
	for {
		path := filepath.Join(dir, "package.json")
		data, err := disk.ReadFile(path, maxManifest)
		if large, ok := tooLarge(err); ok {
			a.note("%s: %s", path, large)
		}
		if err == nil && a.manifestFile(a.show(path), data) {
			return
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return
		}
		dir = parent
	}
}

// manifestFile takes in the dependencies of a package.json. It reports whether it names k6 or k6/x/NAME.
func (a *analysis) manifestFile(where string, data []byte) (decides bool) {
	var manifest struct {
		Dependencies map[string]json.RawMessage `json:"dependencies"`
	}
	if json.Unmarshal(bytes.TrimPrefix(data, []byte(bom)), &manifest) != nil {
		a.note("%s: it is passed over, as its dependencies are no JSON object", where)
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(manifest.Dependencies)) {
		ours := name == k6x.K6 || strings.HasPrefix(name, extension)
		if !ours && !a.named[name] {
			continue
		}
		decides = decides || ours
		var text string
		if json.Unmarshal(manifest.Dependencies[name], &text) != nil {
			a.note("%s: %s is passed over, as its constraint is not a string", where, name)
		} else if err := a.declared(name, text, where); err != nil {
			a.note("%v, and is passed over", err)
		}
	}
	return decides
}

// defaults gives the needs that are left open the constraints of the variable that k6 has for that. It names no others.
func (a *analysis) defaults(in Input) error {
	text, _ := in.Env(envDefaults)
	if text == "" {
		return nil
	}
	var named map[string]string
	if err := json.Unmarshal([]byte(text), &named); err != nil {
		return at(envDefaults, k6x.Errorf(k6x.Invalid, "it cannot be read as JSON: %v", err)).
			WithHint(`Write names and constraints, as in {"k6":"=v1.8.1","k6/x/redis":">=0.3"}.`)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		constraint, err := k6x.ParseConstraint(named[name])
		if err != nil {
			return at(envDefaults+": "+name, err)
		}
		i := slices.IndexFunc(a.report.Needs, func(n Need) bool { return n.Name == name })
		if i < 0 && name == k6x.K6 {
			i, a.report.Needs = 0, slices.Insert(a.report.Needs, 0, Need{Dependency: k6x.Dependency{Name: k6x.K6}})
		}
		if i < 0 || constraint.Any() || !a.report.Needs[i].Constraint.Any() {
			continue
		}
		need := &a.report.Needs[i]
		need.Constraint = constraint
		need.Sources = append(need.Sources, Source{Where: envDefaults, Constraint: constraint})
	}
	return nil
}

// declared takes in a dependency that is written as a pair of strings.
func (a *analysis) declared(name, text, where string) error {
	// The package k6 of npm is a placeholder for editors, which has this version only.
	if name == k6x.K6 && strings.Trim(text, "^~=v ") == "0.0.0" {
		return nil
	}
	dep, err := k6x.NewDependency(name, text)
	if err != nil {
		return at(where, err)
	}
	a.mention(dep, where)
	return nil
}

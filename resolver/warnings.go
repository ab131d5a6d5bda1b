package resolver

import (
	"slices"
	"strings"

	"k6x"
)

// maxIssues bounds what is said of one module.
const maxIssues = 10

// Warnings returns what the registries have against modules, k6 first, in the order of the
// modules: the issues of their versions, and that a repository is archived. It does no I/O.
func (r *Resolver) Warnings(modules []k6x.Module) []string {
	if len(modules) == 0 {
		return nil
	}
	idx := r.index.Load()
	major := k6Major(modules[0].Path)
	var warnings []string
	for _, m := range modules {
		e := idx.module(m.Path, major)
		if e == nil {
			continue
		}
		if issues := e.issues(m.Version); len(issues) > 0 {
			warnings = append(warnings, m.String()+": the registry reports "+strings.Join(issues, ", "))
		}
		if e.archived() {
			warnings = append(warnings, m.String()+": its repository is archived")
		}
	}
	return warnings
}

// module returns the topmost entry of a module path with a major version of k6, or nil.
func (idx *index) module(path string, major int) *entry {
	for _, d := range idx.docs {
		if d.major != 0 && d.major != major {
			continue
		}
		if found := d.byPath[path]; len(found) > 0 {
			return found[0]
		}
	}
	return nil
}

// issues returns what the entry's compliance says of a version. What is not in the form
// that it should have counts as nothing.
func (e *entry) issues(version string) []string {
	compliance, _ := e.raw["compliance"].(map[string]any)
	of, ok := compliance[version].(map[string]any)
	if !ok {
		of, _ = compliance[strings.TrimPrefix(version, "v")].(map[string]any)
	}
	list, _ := of["issues"].([]any)
	var issues []string
	for _, item := range list[:min(len(list), maxIssues)] {
		if issue, _ := item.(string); issue != "" && !slices.Contains(issues, clip(issue)) {
			issues = append(issues, clip(issue))
		}
	}
	return issues
}

func (e *entry) archived() bool {
	repo, _ := e.raw["repo"].(map[string]any)
	archived, _ := repo["archived"].(bool)
	return archived
}

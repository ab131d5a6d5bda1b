package resolver

import (
	"fmt"
	"log/slog"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// entry is one module of a registry.
type entry struct {
	module     string
	names      []string            // dependency names, the decisive one first
	versions   []string            // canonical, newest first; nil: those of the module proxy
	constraint *semver.Constraints // narrows versions; may be nil
	narrowed   string              // the constraint's text
	cgo        bool
	raw        map[string]any // as it came, for the filter
}

func (e *entry) isK6() bool { return k6Major(e.module) > 0 }

// allows reports whether the entry's own lists permit a version.
func (e *entry) allows(version string) bool {
	if e == nil {
		return true
	}
	if e.versions != nil && !slices.Contains(e.versions, version) {
		return false
	}
	if e.constraint == nil {
		return true
	}
	v, err := semver.NewVersion(version)
	return err == nil && e.constraint.Check(v)
}

var k6Path = regexp.MustCompile(`^go\.k6\.io/k6(?:/v([2-9]|[1-9][0-9]))?$`)

// k6Major returns the major version of k6 that a module path stands for, 1 for v0 and
// v1; 0 if it is not k6.
func k6Major(modulePath string) int {
	m := k6Path.FindStringSubmatch(modulePath)
	if m == nil {
		return 0
	}
	if m[1] == "" {
		return 1
	}
	major, _ := strconv.Atoi(m[1]) // two digits at most
	return major
}

// setNames keeps the names that are fit for use. The name k6 is for k6 itself only.
func (e *entry) setNames(names []string, log *slog.Logger) error {
	if len(names) > maxNames {
		return fmt.Errorf("it has more than %d names", maxNames)
	}
	for _, name := range names {
		switch {
		case k6x.CheckName(name) != nil, k6x.IsModulePath(name), (name == k6x.K6) != e.isK6():
			log.Warn("a name in a registry is left out", "name", clip(name), "module", e.module)
		case !slices.Contains(e.names, name):
			e.names = append(e.names, name)
		}
	}
	if len(e.names) == 0 {
		return fmt.Errorf("%s has no name of a dependency", e.module)
	}
	return nil
}

func (e *entry) setVersions(versions []string, constraints string, log *slog.Logger) error {
	if len(versions) > maxVersions {
		return fmt.Errorf("it has more than %d versions", maxVersions)
	}
	for _, text := range versions {
		c, err := k6x.ParseConstraint(text)
		if err != nil || module.Check(e.module, c.Version()) != nil {
			log.Warn("a version in a registry is left out", "version", clip(text), "module", e.module)
			continue
		}
		e.versions = append(e.versions, c.Version())
	}
	if len(versions) > 0 && e.versions == nil {
		return fmt.Errorf("%s has no version that can be used", e.module)
	}
	gomod.SortVersions(e.versions)
	e.versions = slices.Compact(e.versions)
	if e.narrowed = strings.TrimSpace(constraints); e.narrowed == "" {
		return nil
	}
	var err error
	if e.constraint, err = semver.NewConstraint(e.narrowed); err != nil {
		return fmt.Errorf("constraints of %s: %w", e.module, err)
	}
	e.constraint.IncludePrerelease = true // whether one is chosen is for the request to say
	return nil
}

// addOldProperties offers the filter what entries of the oldest shape had, so that an
// old filter keeps its meaning. What is there stays.
func (e *entry) addOldProperties() {
	offer := func(key string, value any) {
		if e.raw[key] == nil {
			e.raw[key] = value
		}
	}
	repo, _ := e.raw["repo"].(map[string]any)
	name, _ := repo["name"].(string)
	if name == "" {
		prefix, _, _ := module.SplitPathVersion(e.module)
		name = path.Base(prefix)
	}
	location, _ := repo["url"].(string)
	if location == "" {
		location = "https://" + e.module
	}
	stars, _ := repo["stars"].(float64)
	tiers := []any{}
	if tier, _ := e.raw["tier"].(string); tier != "" {
		tiers = append(tiers, strings.ToUpper(tier[:1])+tier[1:])
	}
	offer("name", name)
	offer("url", location)
	offer("stars", fmt.Sprintf("%.0f", stars))
	offer("tiers", tiers)
	offer("type", e.types())
}

// types returns the words of the oldest shape for what the names are.
func (e *entry) types() []any {
	types := []any{}
	for _, name := range e.names {
		kind := "Output"
		switch {
		case name == k6x.K6, strings.HasPrefix(name, "k6/"):
			kind = "JavaScript"
		case strings.HasPrefix(name, subcommand):
			kind = "Subcommand"
		}
		if !slices.Contains(types, any(kind)) {
			types = append(types, kind)
		}
	}
	return types
}

// clip shortens what a stranger sent, so that it can be quoted.
func clip(s string) string { return k6x.Clip(s) }

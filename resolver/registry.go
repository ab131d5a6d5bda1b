package resolver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// Bounds on what a registry may hold.
const (
	maxRegistry = 32 << 20 // bytes
	maxEntries  = 20_000
	maxNames    = 200    // names of one entry
	maxVersions = 10_000 // versions of one module
)

// fields are what a registry entry may say, in any of the shapes (docs/contracts.md, section 3).
type fields struct {
	Module      string   `json:"module"`
	Imports     []string `json:"imports"`
	Outputs     []string `json:"outputs"`
	Subcommands []string `json:"subcommands"`
	Versions    []string `json:"versions"`
	Constraints string   `json:"constraints"`
	Cgo         bool     `json:"cgo"`
}

// legacyFields are those of the oldest shape.
type legacyFields struct {
	Name string   `json:"name"`
	URL  string   `json:"url"`
	Type []string `json:"type"`
}

// parse makes a document of a registry's text: one on which the filter fails is an
// error, so that it does not take the place of one on which it works.
func (r *Resolver) parse(data []byte) (*document, error) {
	doc, err := parseRegistry(data, r.cfg.Logger)
	if err == nil {
		_, err = applyFilter(r.filter, r.cfg.Filter, doc.entries)
	}
	return doc, err
}

// item is an entry of a registry before it is looked at.
type item struct {
	key    string // the name that a catalog has it under; "" in the other shapes
	legacy bool   // of the oldest shape
	data   json.RawMessage
}

// parseRegistry reads a registry of any shape. Entries that make no sense are
// logged and left out; if nothing is left it is an error, as what a server says when
// something is wrong with it may be JSON too.
func parseRegistry(data []byte, log *slog.Logger) (*document, error) {
	items, err := splitRegistry(data)
	if err != nil {
		return nil, err
	}
	if len(items) > maxEntries {
		return nil, fmt.Errorf("it has more than %d entries", maxEntries)
	}
	var entries []*entry
	for _, it := range items {
		e, err := it.parse(log)
		if err != nil {
			log.Warn("a registry entry is left out", "entry", clip(string(it.data)), "error", err)
			continue
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, errors.New("it has no entry that can be used")
	}
	return newDocument(entries), nil
}

// splitRegistry tells the shapes apart: an array, an object with an array of
// extensions, or an object from name to entry.
func splitRegistry(data []byte) ([]item, error) {
	if len(data) > maxRegistry {
		return nil, fmt.Errorf("it is larger than %d bytes", maxRegistry)
	}
	list, legacy := json.RawMessage(bytes.TrimSpace(data)), false
	var catalog map[string]json.RawMessage
	if !isArray(list) {
		if err := json.Unmarshal(data, &catalog); err != nil {
			return nil, fmt.Errorf("it is not a JSON array or object: %w", err)
		}
		list, legacy = catalog["extensions"], true
	}
	var items []item
	if isArray(list) {
		var elements []json.RawMessage
		if err := json.Unmarshal(list, &elements); err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
		for _, element := range elements {
			items = append(items, item{legacy: legacy, data: element})
		}
		return items, nil
	}
	for _, key := range slices.Sorted(maps.Keys(catalog)) {
		items = append(items, item{key: key, data: catalog[key]})
	}
	return items, nil
}

func isArray(data json.RawMessage) bool { return bytes.HasPrefix(data, []byte("[")) }

func (it item) parse(log *slog.Logger) (*entry, error) {
	var e entry
	if err := json.Unmarshal(it.data, &e.raw); err != nil {
		return nil, err
	}
	if e.raw == nil {
		return nil, errors.New("it is not an object")
	}
	var f fields
	if err := json.Unmarshal(it.data, &f); err != nil {
		return nil, err
	}
	e.module, e.cgo = f.Module, f.Cgo
	names := f.names(it.key)
	if it.legacy {
		var f legacyFields
		if err := json.Unmarshal(it.data, &f); err != nil {
			return nil, err
		}
		e.module, names = f.module(), f.names()
	}
	if err := module.CheckPath(e.module); err != nil {
		return nil, err
	}
	if err := e.setNames(names, log); err != nil {
		return nil, err
	}
	if err := e.setVersions(f.Versions, f.Constraints, log); err != nil {
		return nil, err
	}
	e.addOldProperties()
	return &e, nil
}

func (f fields) names(key string) []string {
	names := slices.Concat(f.Imports, f.Outputs)
	if key != "" {
		names = slices.Insert(names, 0, key)
	}
	for _, name := range f.Subcommands {
		names = append(names, subcommand+name)
	}
	return names
}

// names returns the names that the oldest shape implies.
func (f legacyFields) names() []string {
	var names []string
	bare := strings.TrimPrefix(f.Name, "xk6-")
	for _, kind := range f.Type {
		switch strings.ToLower(kind) {
		case "javascript":
			names = append(names, "k6/x/"+bare, "k6/x/"+bare[strings.LastIndexByte(bare, '-')+1:])
		case "output":
			names = append(names, f.Name, strings.TrimPrefix(f.Name, "xk6-output-"), bare)
		}
	}
	return names
}

// module returns the module path that the URL of the repository stands for.
func (f legacyFields) module() string {
	_, rest, _ := strings.Cut(f.URL, "://")
	return strings.TrimSuffix(strings.TrimSuffix(rest, "/"), ".git")
}

const subcommand = "subcommand:"

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

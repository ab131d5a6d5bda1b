package resolver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/module"
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

// parser makes a document of a registry's text.
type parser func(data []byte) (*document, error)

// parse is the parser of the resolver: a document on which the filter fails is an
// error, so that it does not take the place of one on which it works.
func (r *Resolver) parse(data []byte) (*document, error) {
	doc, err := parseRegistry(data, r.log)
	if err != nil {
		return nil, err
	}
	if _, err := applyFilter(r.filter, r.cfg.Filter, doc.entries); err != nil {
		return nil, err
	}
	return doc, nil
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
	var names []string
	if key != "" {
		names = append(names, key)
	}
	names = append(names, f.Imports...)
	names = append(names, f.Outputs...)
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

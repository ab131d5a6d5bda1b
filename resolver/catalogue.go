package resolver

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"k6x"
)

// Bounds of the texts of an [Offer], in bytes.
const (
	maxWords = 400 // of a description
	maxWord  = 100
	maxURL   = 500
)

// Offer is what the registries say of an extension that may be had, for those who choose. Texts are printable and of a bounded length.
type Offer struct {
	Names       []string // as lists name it, the decisive one first
	Module      string
	Kinds       []string // javascript, output or subcommand
	Versions    []string // the newest first; nil: those of the module proxy
	Constraint  string   // on these
	Cgo         bool
	Description string
	Author      string
	Tier        string // in lower case
	License     string
	Repository  string // an http or https URL, or ""
	Stars       int
	Updated     time.Time // the repository, when the registry was made
	Archived    bool

	entry *entry
}

// Offers returns the extensions that may be had, in the order of their names. It is the same slice until a registry changes, and does no I/O.
func (r *Resolver) Offers() []Offer { return r.index.Load().offers() }

// makeOffers returns the offers of an index.
func (idx *index) makeOffers(cgo bool) []Offer {
	offers := []Offer{}
	for _, e := range idx.offered(cgo) {
		if !e.isK6() {
			offers = append(offers, e.offer())
		}
	}
	return offers
}

// Issues returns what the registry has against a version of it.
func (o Offer) Issues(version string) []string { return o.entry.issues(version) }

// offer returns what an entry says to people, in any of the shapes. What is not in the form that it should have counts as nothing.
func (e *entry) offer() Offer {
	repo, _ := e.raw["repo"].(map[string]any)
	author, _ := e.raw["author"].(map[string]any)
	o := Offer{
		Names: e.names, Module: e.module, Versions: e.versions, Constraint: line(e.narrowed, maxWord), Cgo: e.cgo, Archived: e.archived(), entry: e,
		Description: cmp.Or(text(e.raw, "description", maxWords), text(repo, "description", maxWords)),
		Author:      cmp.Or(text(repo, "owner", maxWord), text(author, "name", maxWord)),
		Tier:        strings.ToLower(text(e.raw, "tier", maxWord)),
		License:     text(repo, "license", maxWord),
		Repository:  link(cmp.Or(text(repo, "url", maxURL), text(e.raw, "url", maxURL))),
	}
	if tiers, _ := e.raw["tiers"].([]any); o.Tier == "" && len(tiers) > 0 { // of the oldest shape
		tier, _ := tiers[0].(string)
		o.Tier = strings.ToLower(line(tier, maxWord))
	}
	for _, kind := range e.types() {
		o.Kinds = append(o.Kinds, strings.ToLower(kind.(string)))
	}
	stars, _ := repo["stars"].(float64)
	if written, err := strconv.Atoi(text(e.raw, "stars", maxWord)); err == nil && stars == 0 {
		stars = float64(written)
	}
	o.Stars = int(min(max(stars, 0), 1e9))
	if seconds, _ := repo["timestamp"].(float64); 0 < seconds && seconds < 1e11 {
		o.Updated = time.Unix(int64(seconds), 0).UTC()
	}
	return o
}

// text returns a text of an object in one line.
func text(of map[string]any, key string, most int) string {
	s, _ := of[key].(string)
	return line(s, most)
}

// line returns what a stranger wrote in one line that is printable and not too long.
func line(s string, most int) string {
	if len(s) > 4*most { // before it is gone through
		s = strings.ToValidUTF8(s[:4*most], "")
	}
	return k6x.ClipTo(strings.Join(strings.Fields(k6x.Printable(s)), " "), most)
}

// link returns a URL of a stranger that may be linked to, or "".
func link(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}

// KnownVersions returns the versions of k6, or of what a name stands for, the newest first, as far as they are in memory: of extensions
// that have no list in a registry, those that a request needed lately. It does no I/O.
func (r *Resolver) KnownVersions(name string) []string {
	idx := r.index.Load()
	for _, major := range idx.majors {
		e := idx.k6(major)
		if name != k6x.K6 {
			e, _ = idx.lookup(name, major)
		}
		if e == nil {
			continue
		}
		versions := e.versions
		if versions == nil {
			list, _ := r.mods.versions.values.Peek(e.module)
			versions = slices.DeleteFunc(slices.Clone(list.value), func(v string) bool { return !e.allows(v) })
		}
		if len(versions) > 0 {
			return versions
		}
	}
	return nil
}

// VersionsOf returns the versions of k6 in all major versions, or of a registered extension, the newest first, without those that are retracted.
// It asks the module proxy if that is needed. Errors are those of [Resolver.Resolve].
func (r *Resolver) VersionsOf(ctx context.Context, name string) (versions []string, err error) {
	idx := r.index.Load()
	seen := map[string]bool{}
	for _, major := range idx.majors {
		e := idx.k6(major)
		if name != k6x.K6 {
			if e, err = r.find(idx, k6x.Dependency{Name: name}, major); err != nil {
				continue
			}
		}
		if e == nil || seen[e.module] {
			continue
		}
		seen[e.module] = true
		found, failed := r.published(ctx, &target{path: e.module, entry: e, asks: []k6x.Dependency{{Name: name}}})
		if failed != nil {
			err = failed
			continue
		}
		versions = append(versions, found...)
	}
	if len(versions) > 0 {
		return versions, nil
	}
	return nil, err
}

// FetchNeededK6 has [Resolver.NeededK6] know what a version of an extension needs. Errors are those of [Resolver.Resolve].
func (r *Resolver) FetchNeededK6(ctx context.Context, modulePath, version string) error {
	_, err := r.mods.files.get(ctx, module.Version{Path: modulePath, Version: version})
	return err
}

// NeededK6 returns the version of k6 that a version of an extension needs at least, as its own go.mod file has it; "" unless that file is kept.
func (r *Resolver) NeededK6(modulePath, version string) string {
	mod := module.Version{Path: modulePath, Version: version}
	file, ok := r.mods.files.values.Peek(mod)
	if !ok {
		if file, ok = r.mods.files.load(mod); ok {
			r.mods.files.values.Add(mod, file)
		}
	}
	if !ok || file.value == nil {
		return ""
	}
	for _, required := range file.value.Require {
		if k6Major(required.Path) > 0 {
			return required.Version
		}
	}
	return ""
}

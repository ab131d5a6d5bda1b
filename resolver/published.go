package resolver

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"k6x"
)

// Published is what there is of k6, in one major version, or of a registered extension.
type Published struct {
	Module   string   // its path
	Name     string   // as a list names it
	Versions []string // newest first, pre-releases too; not those that are retracted
	Err      error    // why they are not known; nil: they are
}

// Published asks the registries and the module proxy anew for all versions of k6 and of the extensions that may be had and are wanted.
// An error is of kind [k6x.Unavailable]: there is a registry of which nothing is known yet, so that what is new cannot be told.
func (r *Resolver) Published(ctx context.Context, wanted func(name, module string) bool) ([]Published, error) {
	start := time.Now()
	if err := r.Reload(ctx); err != nil {
		return nil, err
	}
	for _, s := range r.sources {
		if now := s.now(); now.doc == nil {
			return nil, k6x.Errorf(k6x.Unavailable, "the registry %s could not be loaded", s.location).WithCause(now.err).WithRetry(retryAfter)
		}
	}
	var targets []*target
	for _, e := range r.index.Load().offered(r.cfg.Cgo) {
		if wanted(e.names[0], e.module) {
			targets = append(targets, &target{path: e.module, entry: e, asks: []k6x.Dependency{{Name: e.names[0]}}})
		}
	}
	list := make([]Published, len(targets))
	var group errgroup.Group
	group.SetLimit(fetchesAtOnce)
	for i, t := range targets {
		group.Go(func() error {
			if t.entry.versions == nil {
				r.mods.versions.renewed(ctx, t.path, start, true)
			}
			list[i] = Published{Module: t.path, Name: t.entry.names[0]}
			list[i].Versions, list[i].Err = r.published(ctx, t)
			return nil
		})
	}
	return list, group.Wait()
}

// published returns the versions of a target that were released or are on their way to a release.
func (r *Resolver) published(ctx context.Context, t *target) ([]string, error) {
	versions, err := r.available(ctx, t)
	if err != nil {
		return nil, err
	}
	retracted, err := r.retractions(ctx, t)
	if err != nil {
		return nil, err
	}
	modern := slices.ContainsFunc(versions, func(v string) bool { return !incompatible(v) })
	return slices.DeleteFunc(versions, func(v string) bool { return namesCommit(v) || retracted(v) || modern && incompatible(v) }), nil
}

// Extensions returns a name of each registered extension that may be had, sorted. It does no I/O.
func (r *Resolver) Extensions() []string {
	var names []string
	for _, o := range r.Offers() {
		names = append(names, o.Names[0])
	}
	return slices.Compact(names)
}

// offered returns the entries of k6 and of extensions that a list can come to, each module once, in the order of their names.
func (idx *index) offered(cgo bool) []*entry {
	var entries []*entry
	seen := map[string]bool{}
	add := func(e *entry) {
		if e != nil && !seen[e.module] {
			seen[e.module] = true
			entries = append(entries, e)
		}
	}
	for _, major := range idx.majors {
		add(idx.k6(major))
	}
	first := len(entries)
	for _, d := range idx.docs {
		for _, e := range d.entries {
			if !e.isK6() && (cgo || !e.cgo) && slices.ContainsFunc(idx.majors, func(major int) bool {
				found, refused := idx.lookup(e.names[0], major)
				return found == e && !refused
			}) {
				add(e)
			}
		}
	}
	slices.SortStableFunc(entries[first:], func(a, b *entry) int { return cmp.Compare(a.names[0], b.names[0]) })
	return entries
}

package resolver

import (
	"cmp"
	"slices"
)

// Extensions returns a name of each registered extension that may be had, sorted. It does no I/O.
func (r *Resolver) Extensions() []string {
	var names []string
	for _, e := range r.index.Load().offered(r.cfg.Cgo) {
		if !e.isK6() {
			names = append(names, e.names[0])
		}
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

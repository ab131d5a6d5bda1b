package resolver

import "slices"

// Extensions returns a name of each registered extension that may be had, sorted. It does no I/O.
func (r *Resolver) Extensions() []string {
	idx := r.index.Load()
	var names []string
	for _, d := range idx.docs {
		if d.missing {
			break
		}
		for _, e := range d.entries {
			if e.isK6() || idx.refused[e] || e.cgo && !r.cfg.Cgo {
				continue
			}
			names = append(names, e.names[0])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

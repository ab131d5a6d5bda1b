package resolver

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jmespath/go-jmespath"

	"k6x"
)

// document is one registry as it was read; it does not change.
type document struct {
	entries []*entry
	byName  map[string][]*entry // those whose first name it is come first
	byPath  map[string][]*entry
	major   int  // the only major version of k6 that it speaks for; 0: any
	missing bool // nothing is known yet of what it says
}

// newDocument makes a document of entries. One that has k6 itself in one major version
// only speaks for that version, as the registries of k6 v1 and v2 do.
func newDocument(entries []*entry) *document {
	d := &document{entries: entries, byName: map[string][]*entry{}, byPath: map[string][]*entry{}}
	majors := map[int]bool{}
	for _, e := range entries {
		if e.isK6() {
			d.major = k6Major(e.module)
			majors[d.major] = true
		}
		d.byPath[e.module] = append(d.byPath[e.module], e)
		d.byName[e.names[0]] = append(d.byName[e.names[0]], e)
	}
	// Second, so that a catalog's key decides over what other entries say of the same name.
	for _, e := range entries {
		for _, name := range e.names[1:] {
			d.byName[name] = append(d.byName[name], e)
		}
	}
	if len(majors) > 1 {
		d.major = 0
	}
	return d
}

// index is what all registries say together; it does not change.
type index struct {
	docs    []*document // topmost first
	refused map[*entry]bool
	filter  string
	every   []int  // major versions of k6, newest first
	majors  []int  // those that may be chosen
	missing string // location of a registry that was configured and could not be loaded yet; "": none

	preReleases bool // of a module that has nothing else do, too

	offers func() []Offer // made when it is called first
}

// newIndex overlays docs, the lowest first, and applies the filter. The lowest decides
// which major versions of k6 there are if no other has k6.
func newIndex(docs []*document, filter *jmespath.JMESPath, expression string) (*index, error) {
	idx := &index{filter: expression}
	majors := map[int]bool{}
	var entries []*entry
	for _, d := range slices.Backward(docs) {
		if d != docs[0] || len(majors) == 0 {
			for _, e := range d.byName[k6x.K6] {
				majors[k6Major(e.module)] = true
			}
		}
		idx.docs, entries = append(idx.docs, d), slices.Concat(d.entries, entries)
	}
	idx.majors = slices.SortedFunc(maps.Keys(majors), func(a, b int) int { return cmp.Compare(b, a) })
	idx.every = idx.majors
	var err error
	idx.refused, err = applyFilter(filter, expression, entries)
	return idx, err
}

// nothingLeft reports whether there are extensions and the filter refuses them all.
func (idx *index) nothingLeft() bool {
	extensions := 0
	for _, d := range idx.docs {
		for _, e := range d.entries {
			if !e.isK6() {
				extensions++
			}
		}
	}
	return extensions > 0 && len(idx.refused) == extensions
}

// has reports whether a registry has a module.
func (idx *index) has(path string) bool {
	return slices.ContainsFunc(idx.docs, func(d *document) bool { return len(d.byPath[path]) > 0 })
}

// k6 returns what the topmost registry says of a major version of k6; nil if it is not
// to be had, or lies below a missing document.
func (idx *index) k6(major int) *entry {
	if !slices.Contains(idx.majors, major) {
		return nil
	}
	for _, d := range idx.docs {
		if d.missing {
			break
		}
		for _, e := range d.byName[k6x.K6] {
			if k6Major(e.module) == major {
				return e
			}
		}
	}
	return nil
}

// lookup returns the entry that name, a registered name or a module path, stands for
// with a major version of k6, and whether the filter refuses it; nil if there is none.
// What lies below a missing document does not count: that document may say otherwise. A name that is
// there for another major version only is refused if that entry is.
func (idx *index) lookup(name string, major int) (e *entry, refused bool) {
	for _, d := range idx.docs {
		if d.missing {
			break
		}
		found := d.byName[name]
		if k6x.IsModulePath(name) {
			found = d.byPath[name]
		}
		if len(found) == 0 {
			continue
		}
		allowed := slices.IndexFunc(found, func(e *entry) bool { return !idx.refused[e] })
		switch {
		case d.major != 0 && d.major != major:
			refused = refused || allowed < 0
		case allowed < 0:
			return found[0], true
		default:
			return found[allowed], false
		}
	}
	return nil, refused
}

// similar returns names that may have been meant by name, at most three.
func (idx *index) similar(name string) []string {
	distances := map[string]int{}
	for _, d := range idx.docs {
		for other, entries := range d.byName {
			if other == k6x.K6 || !slices.ContainsFunc(entries, func(e *entry) bool { return !idx.refused[e] }) {
				continue
			}
			distance := editDistance(name, other)
			if sameLast(name, other) {
				distance = min(distance, 2)
			}
			if distance <= 2 {
				distances[other] = distance
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(distances), func(a, b string) int {
		return cmp.Or(cmp.Compare(distances[a], distances[b]), strings.Compare(a, b))
	})
	return names[:min(3, len(names))]
}

// sameLast reports whether two names end in the same word: k6/x/redis, redis,
// xk6-redis, subcommand:redis.
func sameLast(a, b string) bool {
	last := func(s string) string {
		s = strings.TrimPrefix(path.Base(strings.TrimPrefix(s, subcommand)), "xk6-")
		return strings.ToLower(strings.TrimPrefix(s, "output-"))
	}
	return last(a) == last(b)
}

// editDistance returns the number of insertions, deletions and replacements of bytes
// between a and b, or a large number if their lengths differ by more than two.
func editDistance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 100
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

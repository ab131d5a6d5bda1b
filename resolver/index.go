package resolver

import (
	"cmp"
	"maps"
	"path"
	"reflect"
	"regexp"
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

// compileFilter reads a jmespath expression; "" gives nil, which selects all. A bare
// true or false is an error: jmespath takes it for the name of a field, so that the
// filter would refuse everything in silence.
func compileFilter(expression string) (*jmespath.JMESPath, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, nil
	}
	if corrected := quoteBooleans(expression); corrected != expression {
		return nil, k6x.Errorf(k6x.Invalid, "the filter %s compares with a field named true or false, which selects nothing", expression).
			WithHint("In jmespath a boolean is written in backticks: %s", corrected)
	}
	filter, err := jmespath.Compile(expression)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the filter %s is not a jmespath expression: %w", expression, err)
	}
	return filter, nil
}

// wordOrQuoted matches a word, or a text in quotes, in which a backslash takes a quote's meaning away.
var wordOrQuoted = regexp.MustCompile(`(?s)\w+|'(\\.|[^'\\])*('|\\?$)|"(\\.|[^"\\])*("|\\?$)|` + "`(\\\\.|[^`\\\\])*(`|\\\\?$)")

// quoteBooleans puts backticks around each true and false that stands outside of
// quotes and backticks.
func quoteBooleans(expression string) string {
	return wordOrQuoted.ReplaceAllStringFunc(expression, func(word string) string {
		if word == "true" || word == "false" {
			return "`" + word + "`"
		}
		return word
	})
}

// applyFilter returns the entries that the filter does not select. K6 itself is
// always selected.
func applyFilter(filter *jmespath.JMESPath, expression string, entries []*entry) (map[*entry]bool, error) {
	refused := map[*entry]bool{}
	if filter == nil {
		return refused, nil
	}
	raw := make([]any, len(entries))
	byIdentity := make(map[uintptr]*entry, len(entries))
	for i, e := range entries {
		raw[i] = e.raw
		byIdentity[identity(e.raw)] = e
		if !e.isK6() {
			refused[e] = true
		}
	}
	result, err := filter.Search(raw)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the filter %s does not work on the registry: %w", expression, err)
	}
	selected, ok := result.([]any)
	for _, item := range selected {
		m, _ := item.(map[string]any)
		e := byIdentity[identity(m)]
		ok = ok && e != nil
		delete(refused, e)
	}
	if !ok {
		return nil, k6x.Errorf(k6x.Invalid, "the result of the filter %s is not an array of registry entries", expression).
			WithHint("A filter selects entries, as [?tier=='official'] does.")
	}
	return refused, nil
}

// identity tells apart maps that are equal.
func identity(m map[string]any) uintptr { return reflect.ValueOf(m).Pointer() }

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

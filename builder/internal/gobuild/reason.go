package gobuild

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"k6x/internal/gomod"
)

// Bounds on what is looked at to explain one failure, and on what is said.
const (
	mostReasons  = 3   // modules that are named
	mostRequired = 500 // requirements that are looked at
	mostRaised   = 50  // of which it is found out which modules raised them
)

// reason returns why m, which does not compile or imports what is not there, does not go with the other modules, and what to do about it; "" if
// that is not known. Text is what is quoted of what the go command printed.
func (b *Blame) reason(m module.Version, text string) (why, hint string) {
	if why, hint = b.ignored(m, text); why != "" {
		return why, hint
	}
	if why = b.raised(m, text); why != "" {
		return why, "Ask for other versions of the one or the other, or for one of them alone."
	}
	return b.ignored(m, "")
}

// ignored returns the words for a replace directive of m, or of an extension that leads to it, which does not count in this build: for one
// that text mentions, if there is any.
func (b *Blame) ignored(m module.Version, text string) (why, hint string) {
	for _, by := range append([]module.Version{m}, b.extensionsTo(m)...) {
		f := b.graph.Files[by]
		if f == nil {
			continue
		}
		for _, r := range f.Replace {
			now := module.Version{Path: r.Old.Path, Version: b.selected[r.Old.Path]}
			counts := now.Version != "" && (r.Old.Version == "" || r.Old.Version == now.Version) && (text == "" || mentions(text, r.Old.Path))
			if counts && b.Replaced.of(now) == nil {
				return b.ignoredBy(by, m, r.Old, r.New)
			}
		}
	}
	return "", ""
}

// ignoredBy is ignored for one replace directive in the go.mod of by.
func (b *Blame) ignoredBy(by, m, old, with module.Version) (why, hint string) {
	why = gomod.Ignored(old, with)
	if by != m {
		why = strings.Replace(why, "its go.mod", "the go.mod of "+b.label(by), 1)
	}
	from := with.String()
	if with.Version == "" {
		from = "DIRECTORY"
	}
	return why, fmt.Sprintf("It has to be released without. Where you are, k6x build --replace %s=%s has that in its place.", old.Path, from)
}

// extensionsTo returns the extensions that lead to m.
func (b *Blame) extensionsTo(m module.Version) []module.Version {
	return without(b.graph.RootsTo(func(n module.Version) bool { return n.Path == m.Path }), b.graph.Roots[0])
}

// raised returns the words for modules that m is written for and that others have raised: other extensions or, if text mentions such a
// module, k6.
func (b *Blame) raised(m module.Version, text string) string {
	f, k6 := b.graph.Files[m], b.graph.Roots[0]
	if f == nil {
		return ""
	}
	own := []module.Version{k6, m}
	if !slices.Contains(b.graph.Roots, m) {
		leading := b.graph.RootsTo(func(n module.Version) bool { return n.Path == m.Path })
		if own = append(own[:1], leading[:min(len(leading), 1)]...); slices.Contains(leading, k6) {
			own = own[:1]
		}
	}
	alone, all := b.selection(own), b.selection(b.graph.Roots)
	var raised, likely []string
	looked := 0
	for _, r := range f.Require[:min(len(f.Require), mostRequired)] {
		before, to, mentioned := alone[r.Path], module.Version{Path: r.Path, Version: all[r.Path]}, mentions(text, r.Path)
		byK6 := before == to.Version && r.Path != k6.Path && r.Version != to.Version && mentioned && m != k6
		if looked == mostRaised || before == to.Version && !byK6 {
			continue
		}
		looked++
		by := b.graph.RootsTo(func(n module.Version) bool { return n == to })
		if slices.Contains(b.graph.Roots, to) {
			by = []module.Version{to}
		}
		if byK6 {
			before = r.Version
		}
		by = slices.DeleteFunc(by, func(n module.Version) bool { return byK6 && n != k6 || !byK6 && slices.Contains(own, n) })
		if len(by) == 0 {
			continue
		}
		words := fmt.Sprintf("it is written for %s %s, and %s raises that to %s", r.Path, before, b.label(by[0]), to.Version)
		if mentioned {
			raised = append(raised, words)
		} else {
			likely = append(likely, words)
		}
	}
	raised = append(raised, likely...)
	return strings.Join(raised[:min(len(raised), mostReasons)], "; ")
}

// selection returns the versions that a main module with the roots has, by path.
func (b *Blame) selection(roots []module.Version) map[string]string {
	load := gomod.Loader{Read: func(_ context.Context, m module.Version) (*gomod.File, error) { return b.graph.Files[m], nil }}
	g, _ := load.Load(context.Background(), roots) // of one that is too large there is a part
	return g.Selected()
}

// mentions reports whether what a compiler says may be about a package of a module: about name.Something.
func mentions(text, modulePath string) bool {
	prefix := majorless(modulePath)
	name := strings.TrimSuffix(path.Base(prefix), "-go")
	var names []string // that the package may have
	for _, n := range []string{name, strings.ReplaceAll(name, "-", ""), name[strings.LastIndexByte(name, '-')+1:]} {
		names = append(names, regexp.QuoteMeta(n))
	}
	return regexp.MustCompile(`\b(` + strings.Join(names, "|") + `)\.[A-Z]|\b` + regexp.QuoteMeta(prefix) + `\b`).MatchString(text)
}

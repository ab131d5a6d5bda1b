package resolver

import (
	"context"
	"go/version"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"
	"golang.org/x/sync/errgroup"

	"k6x"
	"k6x/internal/gomod"
)

// Bounds on one search.
const (
	maxSteps   = 100_000 // comparisons of a version with what was chosen before
	maxLooks   = 2000    // module versions whose needs are looked at
	lookAhead  = 8       // versions whose needs are fetched at once
	maxChoices = 500     // versions of one module that are considered
)

// target is one module of the set that is looked for.
type target struct {
	path   string   // of the module
	entry  *entry   // of the registry; nil if it is not registered
	others []*entry // of the other names that the list has for the module
	cgo    bool     // whether it needs cgo

	preReleases bool // one will do if nothing else is listed

	asks     []k6x.Dependency // what the list says of it, sorted by name; for k6 there may be none
	versions []string         // candidates, newest first
}

// label names the target as the user does.
func (t *target) label() string {
	if len(t.asks) == 0 {
		return k6x.K6
	}
	return strings.Join(t.names(), ", ")
}

// names returns what the list calls the target.
func (t *target) names() []string {
	var names []string
	for _, ask := range t.asks {
		names = append(names, ask.Name)
	}
	return names
}

// registered reports whether all that the registries say of the target's names allows a version.
func (t *target) registered(version string) bool {
	return t.entry.allows(version) && !slices.ContainsFunc(t.others, func(e *entry) bool { return !e.allows(version) })
}

// pick is a target with a version chosen.
type pick struct {
	*target
	version string
	needs   *needs
}

func (p pick) String() string { return p.label() + " " + p.version }

// reason says why two picks, or one alone, do not go together.
type reason int

const (
	tooLow     reason = iota // by needs at least version of on
	otherMajor               // by is for another major version of k6, whose path is version
	goTooOld                 // by needs a Go of at least version
	notThere                 // the go.mod file of by cannot be had
)

type clash struct {
	reason  reason
	by, on  pick
	version string
}

// alone returns why a pick does not work, with the toolchain or at all; nil if it does.
func (s *solver) alone(p pick) *clash {
	if lowest, ok := p.needs.lowest[p.path]; ok && modsemver.Compare(lowest, p.version) > 0 { // what it needs needs a newer one
		return &clash{reason: tooLow, by: p, on: p, version: lowest}
	}
	toolchain, _, _ := strings.Cut(s.toolchain, " ")
	if version.IsValid(toolchain) && version.Compare("go"+p.needs.goLine, toolchain) > 0 {
		return &clash{reason: goTooOld, by: p, version: p.needs.goLine}
	}
	return nil
}

// between returns why by does not allow on; nil if it does.
func between(by, on pick) *clash {
	if lowest, ok := by.needs.lowest[on.path]; ok {
		if modsemver.Compare(lowest, on.version) > 0 {
			return &clash{reason: tooLow, by: by, on: on, version: lowest}
		}
		return nil
	}
	if k6Major(on.path) == 0 || k6Major(by.path) != 0 {
		return nil
	}
	if paths := by.needs.k6(); len(paths) > 0 {
		return &clash{reason: otherMajor, by: by, on: on, version: slices.Min(paths)}
	}
	return nil
}

// solver looks for versions that agree. It is for one search.
type solver struct {
	needs     func(context.Context, module.Version) (*needs, error)
	toolchain string

	targets []*target
	set     []pick // chosen so far, in the order of targets
	steps   int
	looks   map[module.Version]bool
	bad     error // the first definite error of a candidate
}

// solve returns the highest versions that agree with each other: first of all k6's,
// the first target, then the others' in their order. It returns nil if there are none.
func (s *solver) solve(ctx context.Context, targets []*target) ([]pick, error) {
	s.targets, s.set, s.looks = targets, nil, map[module.Version]bool{}
	for _, t := range targets {
		t.versions = t.versions[:min(len(t.versions), maxChoices)]
	}
	if err := s.fetch(ctx, targets, 0, 1); err != nil {
		return nil, err
	}
	found, err := s.place(ctx)
	if err != nil || !found {
		return nil, err
	}
	return s.set, nil
}

// place chooses versions for the targets that have none yet and reports whether there are any.
func (s *solver) place(ctx context.Context) (bool, error) {
	n := len(s.set)
	if n == len(s.targets) {
		return true, nil
	}
	for i := range s.targets[n].versions {
		p, bad, err := s.try(ctx, s.targets[n], i)
		if err != nil {
			return false, err
		}
		if bad != nil {
			continue
		}
		s.set = append(s.set, p)
		fits, ever := true, true
		if n == 0 {
			fits, ever, err = s.fit(ctx)
		}
		if fits && err == nil {
			fits, err = s.place(ctx)
		}
		if fits || err != nil {
			return fits, err
		}
		s.set = s.set[:n]
		if !ever {
			break
		}
	}
	return false, nil
}

// fit reports whether each extension, looked at alone, has a version that goes with the k6 that was chosen, and whether it ever can have
// one with another k6. It saves trying all combinations of the others.
func (s *solver) fit(ctx context.Context) (fits, ever bool, err error) {
	for _, t := range s.targets[1:] {
		fits, ever = false, false
		for i := 0; i < len(t.versions) && !fits; i++ {
			_, bad, err := s.try(ctx, t, i)
			if err != nil {
				return false, true, err
			}
			fits = bad == nil
			ever = ever || fits || bad.reason == tooLow && bad.by.target != bad.on.target
		}
		if !fits {
			return false, ever, nil
		}
	}
	return true, true, nil
}

// try reports what is bad about the i-th version of t next to what was chosen so far.
func (s *solver) try(ctx context.Context, t *target, i int) (pick, *clash, error) {
	if s.steps++; s.steps > maxSteps {
		return pick{}, nil, errTooMany()
	}
	if err := ctx.Err(); err != nil {
		return pick{}, nil, err
	}
	if i > 0 && i%lookAhead == 1 {
		if err := s.fetch(ctx, []*target{t}, i, lookAhead); err != nil {
			return pick{}, nil, err
		}
	}
	p, err := s.look(ctx, t, t.versions[i])
	if gomod.Definite(err) {
		return p, &clash{reason: notThere}, nil
	}
	if err != nil {
		return p, nil, err
	}
	c := s.alone(p)
	for i := 0; i < len(s.set) && c == nil; i++ {
		if c = between(p, s.set[i]); c == nil {
			c = between(s.set[i], p)
		}
	}
	return p, c, nil
}

// look finds out what a version needs.
func (s *solver) look(ctx context.Context, t *target, version string) (pick, error) {
	mod := module.Version{Path: t.path, Version: version}
	if s.looks[mod] = true; len(s.looks) > maxLooks {
		return pick{}, errTooMany()
	}
	n, err := s.needs(ctx, mod)
	if err != nil {
		if gomod.Definite(err) && s.bad == nil {
			s.bad = err
		}
		return pick{}, err
	}
	return pick{target: t, version: version, needs: n}, nil
}

// fetch gets what count versions of each target from the i-th on need, all at once, so that
// looking at them one by one does not wait.
func (s *solver) fetch(ctx context.Context, targets []*target, i, count int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetchesAtOnce)
	for _, t := range targets {
		for _, v := range t.versions[min(i, len(t.versions)):min(i+count, len(t.versions))] {
			mod := module.Version{Path: t.path, Version: v}
			if s.looks[mod] {
				continue
			}
			group.Go(func() error {
				if _, err := s.needs(ctx, mod); err != nil && !gomod.Definite(err) {
					return err
				}
				return nil
			})
		}
	}
	return group.Wait()
}

func errTooMany() error {
	return k6x.Errorf(k6x.Conflict, "too many versions would have to be tried to find some that agree").
		WithHint("Give exact versions of k6 or of some extensions.")
}

// clashes returns all that is wrong with a set.
func (s *solver) clashes(set []pick) []clash {
	var list []clash
	for i, p := range set {
		found := []*clash{s.alone(p)}
		for j, q := range set {
			if i != j {
				found = append(found, between(p, q))
			}
		}
		for _, c := range found {
			if c != nil {
				list = append(list, *c)
			}
		}
	}
	return list
}

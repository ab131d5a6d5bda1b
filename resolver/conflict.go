package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	modsemver "golang.org/x/mod/semver"

	"k6x"
	"k6x/internal/gomod"
)

// Bounds on how a conflict is explained.
const (
	mostK6      = 50 // versions of k6 that are looked at
	mostClashes = 4  // that are named
	mostSets    = 3  // that are proposed
	adviceTime  = 10 * time.Second
)

// diagnose finds out why the solver found nothing: it notes what is wrong with the best
// versions, then with those around other versions of k6.
func (f *failure) diagnose(ctx context.Context) error {
	s := f.solver
	s.steps = 0
	k6 := s.targets[0].versions
	for i := range k6[:min(mostK6, len(k6))] {
		set, err := s.around(ctx, i)
		if err != nil {
			return err
		}
		if f.set == nil {
			f.set = set
		}
		for _, c := range s.clashes(set) {
			same := func(other clash) bool {
				return other.reason == c.reason && other.by.target == c.by.target && other.on.target == c.on.target
			}
			if len(f.clashes) == mostClashes || slices.ContainsFunc(f.clashes, same) {
				continue
			}
			f.clashes = append(f.clashes, c)
			if c.reason == otherMajor {
				f.stage = mixed
			}
		}
	}
	switch {
	case f.clashes != nil:
	case s.bad != nil: // some module has no version whose go.mod file can be had
		f.stage, f.err = noVersion, s.bad
	default:
		f.err = k6x.Errorf(k6x.Conflict, "no versions agree with each other")
	}
	return nil
}

// around returns the i-th version of k6 and of each extension the first version that goes
// with it, else the first that there is; nil if there is none.
func (s *solver) around(ctx context.Context, i int) ([]pick, error) {
	s.set = nil
	p, _, err := s.try(ctx, s.targets[0], i)
	if err != nil || p.needs == nil {
		return nil, err
	}
	s.set = []pick{p}
	set := []pick{p}
	for _, t := range s.targets[1:] {
		var best pick
		for i := range t.versions {
			p, bad, err := s.try(ctx, t, i)
			if err != nil {
				return nil, err
			}
			if bad == nil || best.needs == nil {
				best = p
			}
			if bad == nil {
				break
			}
		}
		if best.needs == nil {
			return nil, nil
		}
		set = append(set, best)
	}
	return set, nil
}

// Advice is the cause of an error for which there are lists that work instead.
type Advice struct {
	Lists []k6x.List
	Err   error // the cause besides; may be nil
}

func (a *Advice) Error() string {
	if a.Err == nil {
		return "there are lists that work"
	}
	return a.Err.Error()
}

func (a *Advice) Unwrap() error { return a.Err }

// explain makes the error of a failure: what is wrong, and what would work.
func (r *Resolver) explain(ctx context.Context, idx *index, list k6x.List, f *failure) error {
	err := f.err
	if f.clashes != nil {
		lines := make([]string, len(f.clashes))
		for i, c := range f.clashes {
			lines[i] = c.sentence(r.cfg.Toolchain)
		}
		err = k6x.Errorf(k6x.Conflict, "%s", strings.Join(lines, "\n"))
	}
	e := *k6x.AsError(err) // a copy: others may hold the same error
	switch f.stage {
	case noK6Version:
		if versions := r.everyK6(ctx, idx); versions != nil {
			asked, _ := list.Lookup(k6x.K6)
			return e.WithHint("%s", thereAre(versions, asked.Version()))
		}
	case noName, mixed, conflict:
		if sets := r.advise(ctx, idx, list, f); len(sets) > 0 {
			words := make([]string, len(sets))
			for i, set := range sets {
				words[i] = set.String()
			}
			return e.WithHint("What works: %s", strings.Join(words, " or ")).WithCause(&Advice{Lists: sets, Err: e.Err})
		}
	}
	return &e
}

// sentence says what is wrong, for a person.
func (c clash) sentence(toolchain string) string {
	switch c.reason {
	case goTooOld:
		return fmt.Sprintf("%s needs Go %s or newer, but builds here are made with %s", c.by, c.version, toolchain)
	case otherMajor:
		return fmt.Sprintf("%s is for k6 v%d (%s), %s", c.by, k6Major(c.version), c.version, c.but("which does not go with "+c.on.String()))
	}
	s := fmt.Sprintf("%s needs %s %s or newer", c.by, c.on.label(), c.version)
	otherwise := ""
	if newest := c.on.versions[0]; modsemver.Compare(newest, c.version) < 0 {
		otherwise = "but the newest is " + newest
	}
	if but := c.but(otherwise); but != "" {
		s += ", " + but
	}
	return s
}

// but names what the request says of the other side; if that is nothing, it returns otherwise.
func (c clash) but(otherwise string) string {
	if asked := c.on.constraints(); len(asked) > 0 {
		return "but the request says " + and(asked)
	}
	return otherwise
}

// everyK6 returns the versions of k6 that there are in all major versions, newest first.
func (r *Resolver) everyK6(ctx context.Context, idx *index) []string {
	var versions []string
	for _, major := range idx.majors {
		t, _ := r.targets(idx, nil, major)
		if available, err := r.available(ctx, t[0]); err == nil {
			versions = append(versions, available...)
		}
	}
	gomod.SortVersions(versions)
	return versions
}

// advise returns lists like the one that was asked for, which work: with what is too low
// raised, with one side given up, and at worst with everything open.
func (r *Resolver) advise(ctx context.Context, idx *index, list k6x.List, f *failure) []k6x.List {
	ctx, cancel := context.WithTimeout(ctx, adviceTime)
	defer cancel()
	var sets []k6x.List
	add := func(set []pick) {
		if set == nil {
			return
		}
		one := resolution(set).List()
		if !slices.ContainsFunc(sets, func(other k6x.List) bool { return other.String() == one.String() }) && len(sets) < mostSets {
			sets = append(sets, one)
		}
	}
	open := func(names ...string) { // any version of them will do; none: of all
		list := slices.Clone(list)
		for i := range list {
			if len(names) == 0 || slices.Contains(names, list[i].Name) {
				list[i].Constraint = k6x.Constraint{}
			}
		}
		if set, failed, err := r.search(ctx, idx, list); err == nil && failed == nil {
			add(set)
		}
	}
	add(r.raised(ctx, f))
	for _, c := range f.clashes {
		if names := c.by.names(); names != nil {
			open(names...)
		}
		if c.reason == otherMajor {
			open(k6x.K6)
		}
	}
	if len(sets) == 0 {
		open(k6x.K6)
	}
	if len(sets) == 0 {
		open()
	}
	return sets
}

// raised returns the set of a failure with what is too low raised until it agrees, nil if
// that cannot be.
func (r *Resolver) raised(ctx context.Context, f *failure) []pick {
	const rounds = 10
	if f.set == nil {
		return nil
	}
	set := slices.Clone(f.set)
	for range rounds {
		clashes := f.solver.clashes(set)
		if len(clashes) == 0 {
			return set
		}
		for _, c := range clashes {
			if c.reason != tooLow {
				return nil
			}
			i := slices.IndexFunc(set, func(p pick) bool { return p.path == c.on.path })
			if modsemver.Compare(set[i].version, c.version) >= 0 {
				continue
			}
			version := r.atLeast(ctx, c.on.target, c.version)
			if version == "" {
				return nil
			}
			p, err := f.solver.look(ctx, c.on.target, version)
			if err != nil {
				return nil
			}
			set[i] = p
		}
	}
	return nil
}

// atLeast returns the lowest version of t that is not below lowest, "" if there is none.
func (r *Resolver) atLeast(ctx context.Context, t *target, lowest string) string {
	available, err := r.available(ctx, t)
	if err != nil {
		return ""
	}
	for _, v := range slices.Backward(available) {
		if v == lowest || modsemver.Compare(v, lowest) > 0 && modsemver.Prerelease(v) == "" {
			return v
		}
	}
	return ""
}

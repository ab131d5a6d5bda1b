package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// stage says how far an attempt with one major version of k6 came. Of several that
// failed, the one that came farthest is what the user hears of.
type stage int

const (
	noK6        stage = iota // nothing is known of this major version
	noK6Version              // none of its versions will do
	noName                   // an extension is not registered for it
	noVersion                // no version of an extension will do
	mixed                    // the versions do not agree, for one as extensions are for another major version
	conflict                 // the versions do not agree
)

// failure is an attempt that found no set.
type failure struct {
	stage   stage
	err     error
	solver  *solver // of a conflict
	set     []pick  // what would have been best
	clashes []clash // why not
}

// Resolve returns modules for the list: the highest versions that it, the registries
// and the go.mod files of the modules allow, k6 first. It prefers the newest major
// version of k6 that all extensions support, but v1 if one does not say which it supports.
//
// Errors are of kind Invalid (a module path that is none), NotFound (no such name or
// version), Forbidden (a rule of the operator, see [Resolver.Permit]), Conflict (the versions
// contradict each other; the hint names sets that work), Unavailable (the module proxy
// or a registry does not answer, or refuses), or Canceled.
func (r *Resolver) Resolve(ctx context.Context, list k6x.List) (Resolution, error) {
	return r.resolve(ctx, r.index.Load(), list)
}

func (r *Resolver) resolve(ctx context.Context, idx *index, list k6x.List) (Resolution, error) {
	start := time.Now()
	set, failed, err := r.search(ctx, idx, list)
	if (failed != nil || k6x.KindOf(err) == k6x.NotFound) && r.renewed(ctx, idx, list, start, failed != nil && failed.stage <= noVersion) {
		set, failed, err = r.search(ctx, idx, list)
	}
	switch {
	case err != nil:
		e := *k6x.AsError(err) // a copy: others may hold the same error
		return Resolution{}, &e
	case failed != nil:
		return Resolution{}, r.explain(ctx, idx, list, failed)
	}
	return resolution(set), nil
}

// renewed reports whether something of what the module proxy says of the list is newer than start. What is
// old does for a while, but it is no proof that there is no such version; if early is set, nor is what is not due yet.
func (r *Resolver) renewed(ctx context.Context, idx *index, list k6x.List, start time.Time, early bool) bool {
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	var renewed atomic.Bool
	var wg sync.WaitGroup
	for _, major := range idx.majorsOf(list) {
		targets, _ := r.targets(idx, list, major)
		for _, t := range targets {
			pin, _ := t.pin()
			wg.Go(func() {
				if r.mods.versions.renewed(ctx, t.path, start, early) {
					renewed.Store(true)
				}
				if pin != "" && r.mods.files.renewed(ctx, module.Version{Path: t.path, Version: pin}, start, early) {
					renewed.Store(true)
				}
			})
		}
	}
	wg.Wait()
	return renewed.Load()
}

const renewTime = 10 * time.Second // for what is asked for once more before a request is refused

// search tries the major versions of k6, the newest first. It returns either a set, or
// a failure, which is definite, or an error.
func (r *Resolver) search(ctx context.Context, idx *index, list k6x.List) ([]pick, *failure, error) {
	majors := idx.majorsOf(list)
	if idx.missing != "" && !slices.ContainsFunc(majors, func(major int) bool { return idx.k6(major) != nil }) {
		return nil, nil, idx.notLoaded(k6x.K6)
	}
	for _, dep := range list {
		err := r.anywhere(idx, dep, majors)
		if k6x.KindOf(err) == k6x.NotFound {
			if other := r.anywhere(idx, dep, idx.every); other == nil {
				continue // the attempt will say so
			}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	var failures []*failure
	for _, major := range majors {
		set, failed, err := r.attempt(ctx, idx, list, major)
		if err != nil {
			return nil, nil, err
		}
		if set != nil && major > 1 && saysNothingOfK6(set) && slices.Contains(majors, 1) {
			// K6 had no other major version for long, so that is what such an extension is for.
			first, _, err := r.attempt(ctx, idx, list, 1)
			if err != nil || first != nil {
				return first, nil, err
			}
		}
		if set != nil {
			return set, nil, nil
		}
		failures = append(failures, failed)
	}
	best := failures[0]
	for _, f := range failures {
		if f.stage == conflict {
			if err := f.diagnose(ctx); err != nil {
				return nil, nil, err
			}
		}
		if f.stage > best.stage {
			best = f
		}
	}
	return nil, best, nil
}

// saysNothingOfK6 reports whether there is an extension whose go.mod file names no k6.
func saysNothingOfK6(set []pick) bool {
	return slices.ContainsFunc(set[1:], func(p pick) bool { return len(p.needs.k6()) == 0 })
}

// attempt looks for a set with one major version of k6.
func (r *Resolver) attempt(ctx context.Context, idx *index, list k6x.List, major int) ([]pick, *failure, error) {
	targets, missing := r.targets(idx, list, major)
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		if i == 0 && t.entry == nil {
			asked, _ := list.Lookup(k6x.K6)
			what := cmp.Or(asked.Version(), fmt.Sprintf("of major version %d", major))
			errs[0] = k6x.Errorf(k6x.NotFound, "there is no k6 %s", what).WithCause(errUnsatisfied)
			continue
		}
		wg.Go(func() { errs[i] = r.candidates(ctx, t) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !gomod.Definite(err) && k6x.KindOf(err) != k6x.NotFound && k6x.KindOf(err) != k6x.Conflict {
			return nil, nil, err
		}
	}
	if err := errs[0]; errors.Is(err, errUnsatisfied) {
		return nil, &failure{stage: noK6Version, err: err}, nil
	} else if err != nil {
		return nil, &failure{stage: noK6, err: err}, nil
	}
	if missing != "" {
		err := k6x.Errorf(k6x.Conflict, "%s is not registered for k6 v%d", missing, major)
		if asked, ok := list.Lookup(k6x.K6); ok && !asked.Any() {
			err.Message += fmt.Sprintf(", but the request says %s", list[0])
		}
		return nil, &failure{stage: noName, err: err}, nil
	}
	for _, err := range errs[1:] {
		if err != nil {
			return nil, &failure{stage: noVersion, err: err}, nil
		}
	}
	s := &solver{needs: r.mods.needs, toolchain: r.cfg.Toolchain}
	set, err := s.solve(ctx, targets)
	if err != nil || set != nil {
		return set, nil, err
	}
	return nil, &failure{stage: conflict, solver: s}, nil
}

// targets returns the modules that the list stands for with a major version of k6, k6
// first, and a name that stands for none, if there is one.
func (r *Resolver) targets(idx *index, list k6x.List, major int) (targets []*target, missing string) {
	k6 := &target{path: "go.k6.io/k6", entry: idx.k6(major), preReleases: idx.preReleases}
	if k6.entry != nil {
		k6.path = k6.entry.module
	}
	targets = []*target{k6}
	for _, dep := range list {
		if dep.Name == k6x.K6 {
			k6.asks = []k6x.Dependency{dep}
			continue
		}
		e, err := r.find(idx, dep, major)
		if err != nil {
			missing = dep.Name
			continue
		}
		path := dep.Name
		if e != nil {
			path = e.module
		}
		i := slices.IndexFunc(targets, func(t *target) bool { return t.path == path })
		if i < 0 {
			i = len(targets)
			targets = append(targets, &target{path: path, entry: e, preReleases: idx.preReleases})
		} else if e != targets[i].entry {
			targets[i].others = append(targets[i].others, e)
		}
		targets[i].asks = append(targets[i].asks, dep)
		targets[i].cgo = targets[i].cgo || e != nil && e.cgo
	}
	return targets, missing
}

// resolution puts a set in order.
func resolution(set []pick) Resolution {
	var res Resolution
	for _, p := range set {
		m := k6x.Module{Path: p.path, Version: p.version, Names: p.names()}
		if m.Names == nil {
			m.Names = []string{k6x.K6}
		}
		res.Modules = append(res.Modules, m)
		res.Cgo = res.Cgo || p.cgo
	}
	slices.SortFunc(res.Modules[1:], func(a, b k6x.Module) int { return strings.Compare(a.Path, b.Path) })
	return res
}

// List returns the pinned list that names the resolution.
func (res Resolution) List() k6x.List {
	recipe := k6x.NewRecipe(k6x.Platform{}, res.Modules, res.Cgo, k6x.Settings{})
	return recipe.List()
}

// ResolveMajor is [Resolver.Resolve] for one major version of k6: 1, which v0 counts as
// too, or 2 and so on. It is for clients of k6build: of a module that has pre-releases only the newest of them will do.
func (r *Resolver) ResolveMajor(ctx context.Context, list k6x.List, major int) (Resolution, error) {
	idx := r.index.Load()
	if err := CheckMajor(list, major); err != nil {
		return Resolution{}, err
	}
	if !slices.Contains(idx.majors, major) && idx.missing == "" {
		return Resolution{}, k6x.Errorf(k6x.NotFound, "%s is not in the registry", k6Module(major)).
			WithHint("A service has it with --registry, k6build with --catalog-for.")
	}
	narrow := *idx
	narrow.majors, narrow.preReleases = []int{major}, true
	res, err := r.resolve(ctx, &narrow, list)
	if kind := k6x.KindOf(err); err == nil || kind != k6x.NotFound && kind != k6x.Conflict || len(idx.every) < 2 {
		return res, err
	}
	if set, _, other := r.search(ctx, idx, list); other == nil && set != nil {
		e := *k6x.AsError(err)
		e.Hint = strings.TrimSpace(fmt.Sprintf("%s With %s this works: %s.", e.Hint, set[0].path, resolution(set).List()))
		err = &e
	}
	return res, err
}

// CheckMajor reports whether the list pins a k6 of another major version. The error is
// of kind Conflict.
func CheckMajor(list k6x.List, major int) error {
	k6, _ := list.Lookup(k6x.K6)
	if pinned := pinnedMajor(k6.Version()); pinned != 0 && pinned != major {
		return k6x.Errorf(k6x.Conflict, "k6 %s is a version of %s, but the request is for %s",
			k6.Version(), k6Module(pinned), k6Module(major)).WithHint("Name the module path of the k6 that is meant.")
	}
	return nil
}

// k6Module returns the module path of a major version of k6.
func k6Module(major int) string {
	if major == 1 {
		return "go.k6.io/k6"
	}
	return fmt.Sprintf("go.k6.io/k6/v%d", major)
}

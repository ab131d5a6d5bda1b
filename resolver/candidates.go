package resolver

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"

	"k6x"
	"k6x/internal/gomod"
)

// errUnsatisfied: there are versions, but none that the list allows.
var errUnsatisfied = errors.New("no version will do")

// candidates sets the versions of t that the list and the registry allow, newest first.
// Errors are of kind NotFound (nothing there), Conflict (the list contradicts itself) or
// Unavailable.
func (r *Resolver) candidates(ctx context.Context, t *target) error {
	pin, err := t.pin()
	if err != nil {
		return err
	}
	if pin != "" {
		version, err := r.pinned(ctx, t, pin)
		t.versions = []string{version}
		return err
	}
	available, err := r.available(ctx, t)
	if err != nil {
		return err
	}
	if t.versions, err = r.released(ctx, t, available); err != nil {
		return err
	}
	if len(t.versions) == 0 {
		return t.unsatisfied(available)
	}
	return r.resolveCommits(ctx, t)
}

// maxCommits bounds the commits of one module that a registry lists and that are looked up.
const maxCommits = 4

// resolveCommits puts the versions that commits have in the place of those of the form v0.0.0+COMMIT, which a registry may list. They are the
// lowest of all: where there is a release, none is looked up. A commit that is not there is left out if there is another one.
func (r *Resolver) resolveCommits(ctx context.Context, t *target) error {
	i := slices.IndexFunc(t.versions, func(v string) bool { return commitHash(v) != "" })
	if i < 0 {
		return nil
	}
	if i > 0 {
		t.versions = t.versions[:i]
		return nil
	}
	var found []string
	var failed error
	for _, v := range t.versions[:min(len(t.versions), maxCommits)] {
		hash := commitHash(v)
		if hash == "" {
			found = append(found, v)
			continue
		}
		version, err := r.mods.proxy.Commit(ctx, t.path, hash)
		if err == nil {
			found = append(found, version)
			continue
		}
		failed = unavailable(t.label()+" at commit "+hash, err)
		if !gomod.Definite(err) {
			return failed
		}
	}
	if t.versions = found; len(found) == 0 {
		return failed
	}
	return nil
}

// pin returns the exact version that the list asks for, "" if there may be several.
func (t *target) pin() (string, error) {
	var first k6x.Dependency
	asked := t.constraints()
	for _, ask := range asked {
		switch pin := ask.Constraint.Version(); {
		case pin == "":
		case first.Name == "":
			first = ask
		case pin != first.Constraint.Version():
			return "", k6x.Errorf(k6x.Conflict, "%s and %s are one module (%s), which has one version", first, ask, t.path).
				WithHint("Give both the same version.")
		}
	}
	pin := first.Constraint.Version()
	for _, ask := range asked {
		if pin != "" && commitHash(pin) == "" && !ask.Constraint.Allows(pin) {
			return "", k6x.Errorf(k6x.Conflict, "%s and %s are one module (%s), and that version does not satisfy that constraint",
				first, ask, t.path)
		}
	}
	return pin, nil
}

// pinned returns pin, or the version that the commit has that it names, if there is such
// a version. A version may exist although no list has it, but not against a registry
// that has a list of its own.
func (r *Resolver) pinned(ctx context.Context, t *target, pin string) (string, error) {
	switch hash := commitHash(pin); {
	case hash != "":
		version, err := r.mods.proxy.Commit(ctx, t.path, hash)
		if err != nil {
			return "", unavailable(t.label()+" at commit "+hash, err)
		}
		pin = version
	case module.Check(t.path, pin) != nil, !namesCommit(pin) && !t.registered(pin):
		return "", r.noVersion(ctx, t, pin)
	}
	_, err := r.mods.files.get(ctx, module.Version{Path: t.path, Version: pin})
	direct := errors.Is(err, gomod.ErrDirect) && !namesCommit(pin)
	if err == nil && !namesCommit(pin) {
		r.mods.learn(t.path, pin)
	}
	if err == nil || !gomod.Definite(err) && !direct {
		return pin, err
	}
	if _, useless := errors.AsType[*gomod.Useless](err); useless {
		return "", err
	}
	if k6x.KindOf(err) == k6x.NotFound {
		return "", r.noVersion(ctx, t, pin)
	}
	// The proxy refuses it, or the go command, which does not say why, cannot get it. If
	// others only are listed, or nothing, there is none.
	available, listErr := r.available(ctx, t)
	if errors.Is(listErr, gomod.ErrAbsent) || listErr == nil && (len(available) > 0 || direct) && !slices.Contains(available, pin) {
		return "", r.noVersion(ctx, t, pin)
	}
	return "", err
}

// available returns the versions that the registry lists, else those of the module
// proxy, narrowed by the registry's constraint.
func (r *Resolver) available(ctx context.Context, t *target) ([]string, error) {
	versions, err := r.listed(ctx, t)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return !t.registered(v) }), nil
}

func (r *Resolver) listed(ctx context.Context, t *target) ([]string, error) {
	if t.entry != nil && t.entry.versions != nil {
		return t.entry.versions, nil
	}
	versions, err := r.mods.listed(ctx, t.path)
	if e := k6x.AsError(err); err != nil && e.Kind != k6x.Internal && t.label() != t.path {
		named := *e
		named.Message = t.label() + ": " + e.Message
		return nil, &named
	}
	return versions, err
}

// released keeps the versions that the list allows. Retracted versions go, and so do
// those of the time before modules (+incompatible) if there are others.
func (r *Resolver) released(ctx context.Context, t *target, available []string) ([]string, error) {
	retracted, err := r.retractions(ctx, t)
	if err != nil {
		return nil, err
	}
	var versions, old []string
	for _, v := range available {
		if !t.allows(v) || retracted(v) {
			continue
		}
		if incompatible(v) {
			old = append(old, v)
		} else {
			versions = append(versions, v)
		}
	}
	switch {
	case len(versions) > 0:
		return versions, nil
	case len(old) > 0 || !t.preReleases || slices.ContainsFunc(available, k6x.Constraint{}.Allows):
		return old, nil
	}
	return slices.DeleteFunc(slices.Clone(available), func(v string) bool { return len(t.constraints()) > 0 || retracted(v) }), nil
}

// constraints returns what the list says of the versions of t.
func (t *target) constraints() []k6x.Dependency {
	return slices.DeleteFunc(slices.Clone(t.asks), func(ask k6x.Dependency) bool { return ask.Constraint.Any() })
}

// and joins dependencies in a sentence.
func and(deps []k6x.Dependency) string {
	words := make([]string, len(deps))
	for i, dep := range deps {
		words[i] = dep.String()
	}
	return strings.Join(words, " and ")
}

// incompatible reports whether a version is of the time before modules.
func incompatible(version string) bool { return modsemver.Build(version) != "" }

// allows reports whether all that the list says of t allows a version. Of several names one may well allow a pre-release while another says nothing.
func (t *target) allows(version string) bool {
	asked := t.constraints()
	return len(asked) == 0 && k6x.Constraint{}.Allows(version) ||
		len(asked) > 0 && !slices.ContainsFunc(asked, func(ask k6x.Dependency) bool { return !ask.Constraint.Allows(version) })
}

// retractions returns what reports which versions of a module are retracted: its highest release says
// so, as the go command has it, or its highest pre-release if nothing was released.
func (r *Resolver) retractions(ctx context.Context, t *target) (func(string) bool, error) {
	none := func(string) bool { return false }
	versions, err := r.listed(ctx, t)
	if err != nil || len(versions) == 0 {
		return none, err
	}
	if compatible := slices.DeleteFunc(slices.Clone(versions), incompatible); len(compatible) > 0 {
		versions = compatible
	}
	highest := versions[0]
	for _, v := range versions {
		if modsemver.Prerelease(v) == "" {
			highest = v
			break
		}
	}
	if commitHash(highest) != "" { // no proxy has a file of that name
		return none, nil
	}
	file, err := r.mods.files.get(ctx, module.Version{Path: t.path, Version: highest})
	if gomod.Definite(err) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	return file.Retracted, nil
}

// unsatisfied is the error for a target that no version satisfies.
func (t *target) unsatisfied(available []string) error {
	asked := t.constraints()
	for _, ask := range asked {
		if !slices.ContainsFunc(available, ask.Constraint.Allows) {
			return unsatisfiedBy(ask, available)
		}
	}
	switch len(asked) {
	case 0:
		return k6x.Errorf(k6x.NotFound, "%s has no released version", t.label()).
			WithCause(errUnsatisfied).WithHint("%s", thereAre(available, ""))
	case 1: // what it allows is there, but retracted
		e := unsatisfiedBy(asked[0], slices.DeleteFunc(slices.Clone(available), asked[0].Constraint.Allows))
		e.Message += " and is not retracted"
		return e
	}
	return k6x.Errorf(k6x.Conflict, "%s are one module (%s), and no version satisfies them all", and(asked), t.path).
		WithHint("%s", thereAre(available, ""))
}

// unsatisfiedBy is the error for a constraint that no version satisfies.
func unsatisfiedBy(ask k6x.Dependency, available []string) *k6x.Error {
	return k6x.Errorf(k6x.NotFound, "no version of %s satisfies %s", ask.Name, ask.Constraint).
		WithCause(errUnsatisfied).WithHint("%s", thereAre(available, ""))
}

// noVersion is the error for an exact version that there is not. It names others if
// they are known.
func (r *Resolver) noVersion(ctx context.Context, t *target, pin string) error {
	e := k6x.Errorf(k6x.NotFound, "there is no %s %s", t.label(), pin).WithCause(errUnsatisfied)
	if available, err := r.available(ctx, t); err == nil {
		e.Hint = thereAre(available, pin)
		if t.entry != nil && t.entry.constraint != nil {
			e.Hint = "The registry allows " + t.entry.narrowed + ". " + e.Hint
		}
	}
	return e
}

// thereAre names a few versions: all of them, or the newest and those next to around.
func thereAre(versions []string, around string) string {
	const most = 5
	switch {
	case len(versions) == 0:
		return "No version is there."
	case len(versions) <= most:
		return "There are " + strings.Join(versions, ", ") + "."
	case around == "":
		return "The newest are " + strings.Join(versions[:most], ", ") + "."
	}
	i, _ := slices.BinarySearchFunc(versions, around, func(v, around string) int { return modsemver.Compare(around, v) })
	i = min(max(0, i-2), len(versions)-4)
	shown := slices.Compact(append([]string{versions[0]}, versions[i:i+4]...))
	return "Among others there are " + strings.Join(shown, ", ") + "."
}

package resolver

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"

	"k6x"
)

// cleanPatterns returns patterns in the form that GOPRIVATE has. It returns an error if
// one is malformed, which would match nothing in silence.
func cleanPatterns(patterns string) (string, error) {
	var clean []string
	for pattern := range strings.SplitSeq(patterns, ",") {
		pattern = strings.TrimSpace(pattern)
		if _, err := path.Match(pattern, ""); err != nil {
			return "", k6x.Errorf(k6x.Invalid, "the pattern %q of allowed modules is malformed", pattern)
		}
		if pattern != "" {
			clean = append(clean, pattern)
		}
	}
	return strings.Join(clean, ","), nil
}

// Permit reports whether a rule of the operator refuses a dependency of the list: the
// filter, the patterns of allowed modules, commits, cgo. It does no I/O. A name that is not known is
// not refused: a binary that exists stays served. Errors are of kind [k6x.Forbidden].
func (r *Resolver) Permit(list k6x.List) error {
	idx := r.index.Load()
	majors := idx.majorsOf(list)
	for _, dep := range list {
		if err := r.anywhere(idx, dep, majors); k6x.KindOf(err) == k6x.Forbidden {
			return err
		}
	}
	return nil
}

// Filtered returns an error of kind Forbidden if the filter refuses what has a name, or a module path, with some major version of k6.
func (r *Resolver) Filtered(name string) error {
	idx := r.index.Load()
	for _, major := range idx.majors {
		if _, refused := idx.lookup(name, major); refused {
			return idx.refusal(name)
		}
	}
	return nil
}

func (idx *index) refusal(name string) error {
	return k6x.Errorf(k6x.Forbidden, "%s is refused by the filter %s", name, idx.filter).WithCause(k6x.ErrUnknownDependency)
}

// majorsOf returns the major versions of k6 that a list leaves open, newest first.
func (idx *index) majorsOf(list k6x.List) []int {
	k6, _ := list.Lookup(k6x.K6)
	if major := pinnedMajor(k6.Version()); major != 0 {
		return []int{major}
	}
	return idx.majors
}

// pinnedMajor returns the major version of k6 that an exact version belongs to; 0 if it
// names a commit, or nothing.
func pinnedMajor(version string) int {
	if version == "" || commitHash(version) != "" {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimPrefix(modsemver.Major(version), "v"))
	return max(1, major)
}

var buildSemver = regexp.MustCompile(`^v0\.0\.0\+([0-9a-f]{7,40})$`)

// commitHash returns the commit that a version of the form v0.0.0+COMMIT names, or "".
func commitHash(version string) string {
	if m := buildSemver.FindStringSubmatch(version); m != nil {
		return m[1]
	}
	return ""
}

// namesCommit reports whether a version is not one that was released.
func namesCommit(version string) bool {
	build := modsemver.Build(version)
	return module.IsPseudoVersion(version) || build != "" && build != "+incompatible"
}

// Registered reports whether registries have all that a list names by the path of a module. What they do not have is looked up at hosts that
// the list chooses. It does no I/O.
func (r *Resolver) Registered(list k6x.List) bool {
	idx := r.index.Load()
	return !slices.ContainsFunc(list, func(dep k6x.Dependency) bool { return k6x.IsModulePath(dep.Name) && !idx.has(dep.Name) })
}

// lists reports whether the registries list the commit that an exact version of a name stands for.
func (idx *index) lists(dep k6x.Dependency, majors []int) bool {
	return slices.ContainsFunc(majors, func(major int) bool {
		e := idx.k6(major)
		if dep.Name != k6x.K6 {
			e, _ = idx.lookup(dep.Name, major)
		}
		return e != nil && slices.ContainsFunc(e.versions, func(v string) bool { return sameCommit(v, dep.Constraint.Version()) })
	})
}

// sameCommit reports whether two versions that name commits name the same one.
func sameCommit(a, b string) bool {
	if a == b || !namesCommit(a) || !namesCommit(b) {
		return a == b
	}
	first, second := revision(a), revision(b)
	return strings.HasPrefix(first, second) || strings.HasPrefix(second, first)
}

// revision returns the commit of a version that names one, or its beginning.
func revision(version string) string {
	if hash := commitHash(version); hash != "" {
		return hash
	}
	rev, err := module.PseudoVersionRev(version)
	if err != nil {
		return version
	}
	return rev
}

// anywhere returns an error unless a dependency can be had for one of the majors: of kind Forbidden, Invalid, NotFound or Unavailable.
func (r *Resolver) anywhere(idx *index, dep k6x.Dependency, majors []int) (err error) {
	if v := dep.Constraint.Version(); namesCommit(v) && !r.cfg.AllowBuildSemvers && !idx.lists(dep, majors) {
		return k6x.Errorf(k6x.Forbidden, "%s names a commit, and only released versions are built here", dep).
			WithHint("Ask for a released version of %s; --allow-build-semvers allows commits.", dep.Name)
	}
	if dep.Name == k6x.K6 {
		return nil
	}
	for _, major := range majors {
		_, failed := r.find(idx, dep, major)
		if failed == nil {
			return nil
		}
		if err == nil || k6x.KindOf(failed) == k6x.Forbidden {
			err = failed
		}
	}
	return err
}

// find returns the entry that a dependency stands for with a major version of k6; nil if it is the path of a module that is not registered.
// Its errors are those of anywhere.
func (r *Resolver) find(idx *index, dep k6x.Dependency, major int) (*entry, error) {
	name := dep.Name
	isPath := k6x.IsModulePath(name)
	if isPath {
		if k6Major(name) != 0 {
			return nil, k6x.Errorf(k6x.Invalid, "%s is k6 itself", name).WithHint("Write k6@VERSION.")
		}
		if err := module.CheckPath(name); err != nil {
			return nil, k6x.Errorf(k6x.Invalid, "%q is not the path of a Go module", name).WithCause(err)
		}
	}
	e, refused := idx.lookup(name, major)
	switch {
	case refused:
		return nil, idx.refusal(name)
	case isPath && !module.MatchPrefixPatterns(r.cfg.AllowModules, name):
		hint := "A service allows modules by path with --allow-modules."
		if e != nil {
			hint = "Ask for it by its registered name, " + e.names[0] + ". " + hint
		}
		return nil, k6x.Errorf(k6x.Forbidden, "the allowed modules do not include %s", name).WithHint("%s", hint).WithCause(k6x.ErrUnknownDependency)
	case e != nil && e.cgo && !r.cfg.Cgo:
		return nil, k6x.Errorf(k6x.Forbidden, "%s (%s) needs cgo, and builds here are made without", name, e.module).
			WithHint("With a C compiler, k6build builds it with --enable-cgo, also for others as k6build server.")
	case e != nil:
		return e, nil
	case idx.missing != "":
		return nil, idx.notLoaded(name)
	case !isPath:
		return nil, r.unknown(idx, name)
	}
	return nil, nil
}

// notLoaded is the error for a name that a registry which could not be loaded may have.
func (idx *index) notLoaded(name string) error {
	return k6x.Errorf(k6x.Unavailable, "the registry %s could not be loaded, so %s is not known for sure", idx.missing, name).WithRetry(retryAfter)
}

// unknown is the error for a name that no registry has.
func (r *Resolver) unknown(idx *index, name string) error {
	hint := ""
	for _, s := range slices.Backward(r.sources) {
		if s.now().doc != nil || s.explicit {
			continue
		}
		hint = " The registry " + s.location + " could not be reached, so only what is built in is known."
	}
	if similar := idx.similar(name); len(similar) > 0 {
		hint = " Did you mean " + strings.Join(similar, " or ") + "?" + hint
	}
	return k6x.Errorf(k6x.NotFound, "%s is not in the registry", name).WithCause(k6x.ErrUnknownDependency).WithHint("%s", strings.TrimSpace(hint))
}

package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k6x"
)

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

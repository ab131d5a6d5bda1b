package launcher

import (
	"slices"
	"strings"

	"k6x"
)

// Without calls get with needs. If that cannot be had for good ([k6x.Kind.Lasting]), get is called with what is not optional, and then with
// as many of the optional ones as can be had; the others are printed. What counts is the last call that did not fail.
func Without(needs k6x.List, optional []string, print func(detail bool, text string), get func(k6x.List) error) error {
	needs, err := WithK6(needs)
	if err != nil {
		return err
	}
	first := get(needs)
	list := required(needs, optional)
	if first == nil || !k6x.KindOf(first).Lasting() || len(list) == len(needs) {
		return first
	}
	if err := get(list); err != nil {
		return err
	}
	for _, dep := range needs {
		if !slices.Contains(optional, dep.Name) {
			continue
		}
		more, err := k6x.NewList(append(slices.Clone(list), dep)...)
		switch {
		case err != nil:
		case len(more) == len(needs):
			err = first // that was tried
		default:
			err = get(more)
		}
		switch {
		case err == nil:
			list = more
		case k6x.Interrupted(err):
			return err
		default:
			text, rest, _ := strings.Cut(reason(err), "\n")
			print(false, dep.Name+" is left out, as the script may do without it: "+text)
			if rest != "" {
				print(true, rest)
			}
		}
	}
	return nil
}

// required returns the needs that are not optional.
func required(needs k6x.List, optional []string) k6x.List {
	return slices.DeleteFunc(slices.Clone(needs), func(dep k6x.Dependency) bool { return slices.Contains(optional, dep.Name) })
}

package launcher

import (
	"regexp"
	"slices"
	"strings"

	"k6x"
)

// mostTries is how often something is tried for want of which a build failed, before all that is optional is left out.
const mostTries = 3

// Without calls get with needs. If that cannot be had for good ([k6x.Kind.Lasting]), get is called without those of the optional ones that the error
// names, or without any if it names none, until it does not fail; they are printed then. Builds that fail are few, however many are optional.
func Without(needs k6x.List, optional []string, print func(detail bool, text string), get func(k6x.List) error) error {
	list, err := WithK6(needs)
	if err != nil {
		return err
	}
	type left struct {
		name string
		why  error
	}
	var out []left
	for builds := 0; ; {
		failed := get(list)
		rest := required(list, optional)
		if failed != nil && (!k6x.KindOf(failed).Lasting() || len(rest) == len(list)) {
			return failed
		}
		if failed == nil {
			break
		}
		if k6x.KindOf(failed) == k6x.BuildFailed {
			builds++
		}
		if fewer := required(list, namedBy(failed, optional)); builds < mostTries && len(fewer) < len(list) {
			rest = fewer
		}
		for _, dep := range list {
			if _, stays := rest.Lookup(dep.Name); !stays {
				out = append(out, left{dep.Name, failed})
			}
		}
		list = rest
	}
	for _, l := range out {
		text, rest, _ := strings.Cut(k6x.Detailed(l.why), "\n")
		print(false, l.name+" is left out, as the script may do without it: "+text)
		if rest != "" {
			print(true, rest)
		}
	}
	return nil
}

// namedBy returns the names that are in the words of an error.
func namedBy(err error, names []string) []string {
	words := k6x.AsError(err).Message
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !regexp.MustCompile(`(^|[^\w/.-])` + regexp.QuoteMeta(name) + `($|[^\w/-])`).MatchString(words)
	})
}

// required returns the needs that are not optional.
func required(needs k6x.List, optional []string) k6x.List {
	return slices.DeleteFunc(slices.Clone(needs), func(dep k6x.Dependency) bool { return slices.Contains(optional, dep.Name) })
}

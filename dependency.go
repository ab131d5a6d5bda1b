package k6x

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// K6 is the name of the tool itself in a dependency list.
const K6 = "k6"

// Bounds on what a request may ask for.
const (
	maxList       = 4096 // bytes in a dependency list
	maxItems      = 64   // dependencies in a list
	maxName       = 200  // bytes in a name
	maxConstraint = 200  // bytes in a version or constraint
)

// Dependency is one wish: a name and the versions of it that will do.
type Dependency struct {
	Name       string
	Constraint Constraint
}

// A name: k6, k6/x/redis, dashboard, subcommand:docs or a Go module path. Its elements
// are not empty and do not start with a dot. It starts with a letter; with a digit only if a
// slash follows, as without one a list could not tell it from a part of a constraint.
var nameSyntax = regexp.MustCompile(`^(subcommand:)?([A-Za-z][\w~.-]*|[0-9][\w~.-]*/[\w~-][\w~.-]*)(/[\w~-][\w~.-]*)*$`)

// CheckName returns an error of kind [Invalid] unless name has the form of a dependency's name
// (docs/contracts.md, section 2).
func CheckName(name string) error {
	switch {
	case name == "":
		return Errorf(Invalid, "a dependency has no name").WithCause(ErrUnknownDependency).WithHint("%s", listHint)
	case len(name) > maxName:
		return Errorf(Invalid, "the name %q is longer than %d characters", Clip(name), maxName).WithCause(ErrUnknownDependency)
	case name == "go":
		return Errorf(Invalid, "the name go is reserved").WithCause(ErrUnknownDependency).
			WithHint("The Go toolchain is chosen by the service; leave go out of the list.")
	case !nameSyntax.MatchString(name), name == "k6/x", strings.HasPrefix(name, "k6/") && !strings.HasPrefix(name, "k6/x/"):
		return Errorf(Invalid, "%q is not a name of a dependency", Clip(name)).WithCause(ErrUnknownDependency).
			WithHint("Names are k6, k6/x/NAME, NAME of an output, subcommand:NAME, or a Go module path.")
	}
	return nil
}

const listHint = "A list is written name@version,name@version, for example k6@v1.8.1,k6/x/redis@v0.3.6."

// IsModulePath reports whether name is a Go module path rather than a registered
// name: its first element has a dot.
func IsModulePath(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return strings.Contains(first, ".")
}

// String returns name@constraint, or the name alone if any version will do.
func (d Dependency) String() string {
	if d.Constraint.Any() {
		return d.Name
	}
	return d.Name + "@" + d.Constraint.String()
}

// List is a dependency list: at most one dependency for each name, k6 first, the
// others sorted by name. [ParseList] and [NewList] make it so.
type List []Dependency

// NewList puts deps in order and merges repeated ones. It returns an error of
// kind [Invalid] for a bad name, a name that is given two different constraints,
// no dependency at all, or too many.
func NewList(deps ...Dependency) (List, error) {
	if len(deps) == 0 {
		return nil, Errorf(Invalid, "the dependency list is empty").WithHint("%s", listHint)
	}
	if len(deps) > maxItems {
		return nil, Errorf(Invalid, "the dependency list has more than %d items", maxItems)
	}
	seen := make(map[string]Constraint, len(deps))
	list := make(List, 0, len(deps))
	for _, dep := range deps {
		if err := CheckName(dep.Name); err != nil {
			return nil, err
		}
		first, again := seen[dep.Name]
		if again && first.String() != dep.Constraint.String() {
			return nil, Errorf(Invalid, "%s is given twice, as %s and as %s", dep.Name, first, dep.Constraint).
				WithHint("Name each dependency once.")
		}
		if !again {
			seen[dep.Name] = dep.Constraint
			list = append(list, dep)
		}
	}
	slices.SortFunc(list, func(a, b Dependency) int { return CompareNames(a.Name, b.Name) })
	return list, nil
}

// CompareNames orders names as in a list: k6 first.
func CompareNames(a, b string) int {
	if a == K6 {
		a = ""
	}
	if b == K6 {
		b = ""
	}
	return strings.Compare(a, b)
}

// ParseList reads a comma separated list of name, name@version or name@constraint.
// A constraint may have commas of its own: an item that starts with an operator, or
// with a digit and is no name, goes on with the constraint before it. Errors are of kind [Invalid].
func ParseList(s string) (List, error) {
	if len(s) > maxList {
		return nil, Errorf(Invalid, "the dependency list is longer than %d characters", maxList)
	}
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if n := len(items); n > 0 && continuesConstraint(items[n-1], item) {
			items[n-1] += "," + item
			continue
		}
		items = append(items, item)
		if len(items) > maxItems {
			return nil, Errorf(Invalid, "the dependency list has more than %d items", maxItems)
		}
	}
	deps := make([]Dependency, 0, len(items))
	for _, item := range items {
		if item == "" {
			return nil, Errorf(Invalid, "the dependency list %q has an empty item", Clip(s)).WithHint("%s", listHint)
		}
		name, text, versioned := strings.Cut(item, "@")
		name, text = strings.TrimSpace(name), strings.TrimSpace(text)
		dep, err := NewDependency(name, text)
		if err != nil {
			return nil, err
		}
		if versioned && text == "" {
			return nil, Errorf(Invalid, "%s has an @ but no version", name).
				WithHint("Write %s@VERSION, or %s alone for the newest.", name, name)
		}
		deps = append(deps, dep)
	}
	return NewList(deps...)
}

// NewDependency returns the dependency of a name and the text of a constraint, which may be "". Errors are of kind Invalid.
func NewDependency(name, constraint string) (Dependency, error) {
	if err := CheckName(name); err != nil {
		return Dependency{}, err
	}
	c, err := ParseConstraint(constraint)
	if err != nil {
		e := AsError(err)
		e.Message = name + ": " + e.Message
		return Dependency{}, e
	}
	return Dependency{Name: name, Constraint: c}, nil
}

func continuesConstraint(before, item string) bool {
	if item == "" || !strings.Contains(before, "@") {
		return false
	}
	switch c := item[0]; {
	case strings.ContainsRune("<>=!~^*", rune(c)):
		return true
	case '0' <= c && c <= '9':
		return !strings.ContainsAny(item, "@/")
	}
	return false
}

// String returns the list as [ParseList] reads it, without percent-encoding.
func (l List) String() string {
	items := make([]string, len(l))
	for i, dep := range l {
		items[i] = dep.String()
	}
	return strings.Join(items, ",")
}

// Pinned reports whether the list names k6 and gives each dependency an exact
// version, so that nothing is left to resolve.
func (l List) Pinned() bool {
	for _, dep := range l {
		if dep.Constraint.Version() == "" {
			return false
		}
	}
	return len(l) > 0 && l[0].Name == K6
}

// Lookup returns the constraint for name, and whether the list has the name.
func (l List) Lookup(name string) (Constraint, bool) {
	for _, dep := range l {
		if dep.Name == name {
			return dep.Constraint, true
		}
	}
	return Constraint{}, false
}

// ParsePath reads a URL path /{goos}/{goarch}/{list} whose percent-encoding has
// been undone. Slashes too many at its start are passed over, as a client that
// joins a base URL and a path may send them. Errors are of kind [Invalid], or
// [NotFound] for what is no platform.
func ParsePath(path string) (Platform, List, error) {
	parts := strings.SplitN(strings.TrimLeft(path, "/"), "/", 3)
	if len(parts) < 3 {
		return Platform{}, nil, Errorf(Invalid, "the path %q does not name a binary", Clip(path)).
			WithHint("A path is written /goos/goarch/list, for example /linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6.")
	}
	platform, err := ParsePlatform(parts[0] + "/" + parts[1])
	if err != nil {
		return Platform{}, nil, err
	}
	list, err := ParseList(parts[2])
	if err != nil {
		return Platform{}, nil, err
	}
	return platform, list, nil
}

// Path returns the URL path of the list for a platform, percent-encoded where a
// URL needs it. For a pinned list it is the canonical path.
func (l List) Path(platform Platform) string {
	u := url.URL{Path: "/" + platform.String() + "/" + l.String()}
	return u.EscapedPath()
}

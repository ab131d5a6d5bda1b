package k6x

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Constraint says which versions will do. The zero value is any version; else it
// is one exact version or a semver range in the syntax of Masterminds/semver/v3.
type Constraint struct {
	text    string              // normalized; empty for any version
	version string              // the exact version, v-prefixed; empty for a range
	ranges  *semver.Constraints // nil for any or exact
}

var exactVersion = regexp.MustCompile(`^v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)` +
	`(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

// ParseConstraint reads a version ("v1.8.1", "1.8.1", "=1.8.1"), a range (">=0.3, <1", "^1.8"),
// or "", "*" or "latest" for any version. The error is of kind [Invalid].
func ParseConstraint(s string) (Constraint, error) {
	s = strings.Join(strings.Fields(s), " ")
	if exact, equal := strings.CutPrefix(s, "="); equal && exactVersion.MatchString(strings.TrimSpace(exact)) {
		s = strings.TrimSpace(exact) // what is equal to one version is that version, also one that no list has
	}
	switch {
	case s == "", s == "*", s == "latest":
		return Constraint{}, nil
	case len(s) > maxConstraint:
		return Constraint{}, Errorf(Invalid, "the constraint %q is longer than %d characters", Clip(s), maxConstraint).WithCause(ErrInvalidConstraint)
	case exactVersion.MatchString(s):
		if _, err := semver.NewVersion(s); err != nil {
			return Constraint{}, badConstraint(s, err)
		}
		version := "v" + strings.TrimPrefix(s, "v")
		return Constraint{text: version, version: version}, nil
	}
	if strings.ContainsAny(s, "@/") {
		return Constraint{}, badConstraint(s, errors.New("it has an @ or a slash"))
	}
	ranges, err := semver.NewConstraint(s)
	if err != nil {
		return Constraint{}, badConstraint(s, err)
	}
	return Constraint{text: s, ranges: ranges}, nil
}

func badConstraint(s string, cause error) *Error {
	return Errorf(Invalid, "%q is neither a version nor a constraint", Clip(s)).
		WithHint("Write a version such as v1.8.1 or a constraint such as >=1.2, ~1.2.3 or ^1.8.").WithCause(fmt.Errorf("%w: %w", ErrInvalidConstraint, cause))
}

// Exactly returns the constraint that only version satisfies; version is v-prefixed semver.
func Exactly(version string) Constraint { return Constraint{text: version, version: version} }

// Any reports whether every version will do.
func (c Constraint) Any() bool { return c.text == "" }

// Version returns the one version that will do, v-prefixed, or "" if there may be several.
func (c Constraint) Version() string { return c.version }

// String returns the constraint as [ParseConstraint] reads it; "*" for any version.
func (c Constraint) String() string {
	if c.text == "" {
		return "*"
	}
	return c.text
}

// Allows reports whether version, v-prefixed semver, will do. A range allows a
// pre-release only if it names one itself (as >=1.0.0-0 does); any version
// means any release.
func (c Constraint) Allows(version string) bool {
	if c.version != "" {
		return c.version == version
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		return false
	}
	if c.ranges == nil {
		return v.Prerelease() == ""
	}
	return c.ranges.Check(v)
}

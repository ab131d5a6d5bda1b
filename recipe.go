package k6x

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Module is a Go module at an exact version.
type Module struct {
	Path    string   `json:"path"`            // such as github.com/grafana/xk6-redis
	Version string   `json:"version"`         // such as v0.3.6
	Names   []string `json:"names,omitempty"` // the dependencies it was asked for as, sorted; such as k6/x/redis
}

// String returns path@version.
func (m Module) String() string { return m.Path + "@" + m.Version }

// Label returns the words for a person: the names asked for and the module.
func (m Module) Label() string {
	if len(m.Names) == 0 || slices.Equal(m.Names, []string{m.Path}) {
		return m.String()
	}
	return strings.Join(m.Names, ", ") + " (" + m.String() + ")"
}

// Settings are what a service adds to a request to make a recipe of it.
type Settings struct {
	Toolchain string   `json:"toolchain"`     // as `go env GOVERSION` prints it, such as go1.26.8
	Flags     []string `json:"flags"`         // flags of go build, in order
	Env       []string `json:"env,omitempty"` // KEY=VALUE that change code generation, such as GOAMD64=v3; sorted
	Layout    int      `json:"layout"`        // version of the generated main module
}

// Recipe is everything that decides the bytes of a binary, and nothing else but
// the names it was asked for.
type Recipe struct {
	Platform   Platform `json:"platform"`
	K6         Module   `json:"k6"`
	Extensions []Module `json:"extensions,omitempty"` // sorted by path, each path once
	Cgo        bool     `json:"cgo,omitempty"`
	Settings
}

// NewRecipe makes a recipe of modules, of which the first is k6 itself.
func NewRecipe(platform Platform, modules []Module, cgo bool, settings Settings) Recipe {
	extensions := slices.Clone(modules[1:])
	slices.SortFunc(extensions, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	return Recipe{Platform: platform, K6: modules[0], Extensions: extensions, Cgo: cgo, Settings: settings}
}

// Key returns a name for the bytes: the hex SHA-256 over all that decides them. The
// names that were asked for do not: two paths that mean the same modules share a key.
func (r Recipe) Key() string {
	h := sha256.New()
	field := func(name string, values ...string) {
		fmt.Fprintf(h, "%s %d", name, len(values))
		for _, v := range values {
			fmt.Fprintf(h, " %d:%s", len(v), v)
		}
		fmt.Fprintln(h)
	}
	field("recipe", "1", fmt.Sprint(r.Layout))
	field("platform", r.Platform.OS, r.Platform.Arch)
	field("k6", r.K6.Path, r.K6.Version)
	for _, m := range r.Extensions {
		field("extension", m.Path, m.Version)
	}
	field("toolchain", r.Toolchain)
	field("flags", r.Flags...)
	field("env", r.Env...)
	field("cgo", fmt.Sprint(r.Cgo))
	return hex.EncodeToString(h.Sum(nil))
}

// List returns the pinned dependency list of the recipe.
func (r Recipe) List() List {
	list := List{{Name: K6, Constraint: Exactly(r.K6.Version)}}
	for _, m := range r.Extensions {
		for _, name := range m.Names {
			list = append(list, Dependency{Name: name, Constraint: Exactly(m.Version)})
		}
	}
	slices.SortFunc(list, func(a, b Dependency) int { return CompareNames(a.Name, b.Name) })
	return list
}

// Path returns the canonical URL path of the recipe.
func (r Recipe) Path() string { return r.List().Path(r.Platform) }

// Artifact is the record of one binary: what it is, and all that is needed to
// make it again and to check that it is the same.
type Artifact struct {
	Recipe Recipe    `json:"recipe"`
	Path   string    `json:"path"`   // the canonical path that it was first built for
	Digest string    `json:"digest"` // hex SHA-256 of the bytes
	Size   int64     `json:"size"`   // bytes
	Stored time.Time `json:"stored"` // when it was stored, UTC, in whole seconds: the Last-Modified of the bytes
	Build  Build     `json:"build"`
}

// Build is what an engine reports of a build that succeeded.
type Build struct {
	Started   time.Time     `json:"started"`
	Duration  time.Duration `json:"duration"` // nanoseconds
	Toolchain string        `json:"toolchain"`
	BuildList []Linked      `json:"build_list"` // the modules linked in, as debug/buildinfo names them
	Lock      Lock          `json:"lock"`
	Warnings  []string      `json:"warnings,omitempty"` // what the sources say against the binary, for a person
}

// Linked is one module of a build list with its checksum.
type Linked struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	Sum     string `json:"sum"` // as in go.sum: "h1:…"
}

// Lock holds the main module's go.mod and go.sum as the go command left them. A
// rebuild uses them read-only.
type Lock struct {
	GoMod string `json:"go_mod"`
	GoSum string `json:"go_sum"`
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// CheckKey reports whether key has the form of [Recipe.Key]; only then it may become
// part of a file name. The error is of kind [Invalid].
func CheckKey(key string) error {
	if !hexDigest.MatchString(key) {
		return Errorf(Invalid, "%q is not a key", Clip(key)).WithHint("A key is 64 lower-case hex digits.")
	}
	return nil
}

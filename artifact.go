package k6x

import (
	"regexp"
	"time"
)

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

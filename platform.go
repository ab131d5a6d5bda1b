package k6x

import (
	"regexp"
	"strings"
)

// Platform is a target as the go command names it, such as linux/amd64.
type Platform struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

var platformWord = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// ParsePlatform reads "goos/goarch". It checks the form only: whether a service
// builds for the platform is the service's to say. The error is of kind [NotFound].
func ParsePlatform(s string) (Platform, error) {
	os, arch, ok := strings.Cut(s, "/")
	if !ok || !platformWord.MatchString(os) || !platformWord.MatchString(arch) {
		return Platform{}, UnknownPlatform(s)
	}
	return Platform{OS: os, Arch: arch}, nil
}

// What other programs call the words that Go uses for platforms.
var platformAliases = strings.NewReplacer("x86_64", "amd64", "x64", "amd64", "aarch64", "arm64",
	"macos", "darwin", "osx", "darwin", "win32", "windows", "win64", "windows")

// UnknownPlatform returns the error for a platform that nobody builds for, of kind
// [NotFound]. Known are the platforms that there are instead.
func UnknownPlatform(s string, known ...Platform) *Error {
	e := Errorf(NotFound, "unknown platform %q", Clip(s)).WithCause(ErrInvalidPlatform)
	if guess := platformAliases.Replace(strings.ToLower(s)); guess != s {
		return e.WithHint("Did you mean %s?", Clip(guess))
	}
	if len(known) == 0 {
		return e.WithHint("A platform is written goos/goarch, for example linux/amd64.")
	}
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.String()
	}
	return e.WithHint("This service builds for %s.", strings.Join(names, ", "))
}

// DefaultPlatforms are the platforms that a service builds for unless it is told otherwise.
func DefaultPlatforms() []Platform {
	var list []Platform
	for _, os := range []string{"linux", "windows", "darwin"} {
		for _, arch := range []string{"amd64", "arm64"} {
			list = append(list, Platform{OS: os, Arch: arch})
		}
	}
	return list
}

// String returns "goos/goarch".
func (p Platform) String() string { return p.OS + "/" + p.Arch }

// Executable returns the file name of a k6 for the platform: k6, or k6.exe on windows.
func (p Platform) Executable() string {
	if p.OS == "windows" {
		return "k6.exe"
	}
	return "k6"
}

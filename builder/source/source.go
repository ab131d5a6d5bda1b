// Package source reads what a user writes to have a module replaced by code from elsewhere
// (docs/contracts.md, section 7): a directory, another module, or a branch, tag or commit of a git
// repository, which [Git] fetches. Package builder/native builds with it.
package source

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/disk"
	"k6x/internal/gomod"
)

// Source is where the code that replaces a module comes from. One of Dir, Module and Remote
// is set.
type Source struct {
	Dir    string         // a directory; absolute
	Module module.Version // a module at an exact version
	Remote string         // the URL of a git repository, without a fragment
	Ref    string         // its branch, tag or commit; "" is the one that it shows first
}

// String returns the source as [Parse] reads it.
func (s Source) String() string {
	switch {
	case s.Dir != "":
		return s.Dir
	case s.Remote != "" && s.Ref != "":
		return s.Remote + "#" + s.Ref
	case s.Remote != "":
		return s.Remote
	}
	return s.Module.String()
}

// Bounds on what a user may write, which keep mistakes out of messages and command lines.
const (
	maxText = 2048 // bytes
	maxRef  = 250
)

const forms = "Write a directory such as ./xk6-mine, a module such as github.com/me/xk6-mine@v1.2.3, " +
	"or a git repository such as https://github.com/me/xk6-mine#branch."

// Parse reads a directory (absolute, or relative to base and starting with a dot), module@version,
// or the URL of a git repository (git, https, ssh or file) with an optional #ref. It looks at
// nothing but the text. Errors are of kind [k6x.Invalid].
func Parse(text, base string) (Source, error) {
	switch {
	case text == "":
		return Source{}, invalid("there is nothing to replace it by")
	case len(text) > maxText:
		return Source{}, invalid("the replacement is longer than %d characters", maxText)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Source{}, invalid("%q has control characters", text)
	case filepath.IsAbs(text):
		return Source{Dir: filepath.Clean(text)}, nil
	case strings.HasPrefix(text, "."):
		dir := filepath.Join(base, filepath.FromSlash(text))
		if len(dir) > maxText {
			return Source{}, invalid("the path of the directory that replaces it is longer than %d characters", maxText)
		}
		return Source{Dir: dir}, nil
	case strings.HasPrefix(text, "~"):
		return Source{}, invalid("%q is not a directory: the shell has not replaced the ~", text).
			WithHint("Write the whole path.")
	case strings.Contains(text, "://"):
		return parseRemote(text)
	}
	return parseModule(text)
}

func invalid(format string, args ...any) *k6x.Error {
	return k6x.Errorf(k6x.Invalid, format, args...).WithHint(forms)
}

var scp = regexp.MustCompile(`^[\w.-]+@[\w.-]+:`) // git@github.com:me/xk6-mine

func parseModule(text string) (Source, error) {
	if scp.MatchString(text) {
		user, rest, _ := strings.Cut(text, ":")
		return Source{}, invalid("%q is neither a directory nor a module", text).
			WithHint("A git repository is written as a URL: ssh://%s/%s", user, rest)
	}
	name, version, versioned := strings.Cut(text, "@")
	switch {
	case !versioned && k6x.IsModulePath(name):
		return Source{}, invalid("%q has no version", text).
			WithHint("Write %s@VERSION for a module, ./%s for a directory.", name, name)
	case !versioned:
		return Source{}, invalid("%q is neither a directory nor a module", text).
			WithHint("Write ./%s for a directory.", filepath.ToSlash(name))
	}
	m := module.Version{Path: name, Version: "v" + strings.TrimPrefix(version, "v")}
	if module.Check(m.Path, m.Version) == nil {
		return Source{Module: m}, nil
	}
	if err := module.CheckPath(name); err != nil {
		return Source{}, invalid("%q is neither a directory nor a module", text).WithCause(err)
	}
	if constraint, err := k6x.ParseConstraint(version); err != nil || constraint.Version() == "" {
		return Source{}, invalid("%q is not a version of the module %s", version, name).
			WithHint("Write one exact version such as %s@v1.2.3; for a branch, https://%s#%s.", name, name, version)
	}
	return Source{}, invalid("the module %s has no version %s", name, m.Version).
		WithHint("From v2 on, the path of a module ends with its major version, such as /v2.")
}

// A ref: what may be the name of a branch, tag or commit, and no option of git's.
var refSyntax = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+-]*$`)

// hostSyntax has host names and addresses, with a port or without.
var hostSyntax = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?$`)

var userSyntax = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func parseRemote(text string) (Source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Source{}, invalid("the URL of the repository cannot be read") // it may hold a password
	}
	if u.User != nil {
		if _, secret := u.User.Password(); secret || u.Scheme != "ssh" || !userSyntax.MatchString(u.User.Username()) {
			return Source{}, invalid("the URL of %s has a name or a password in it", u.Host).
				WithHint("Leave it out: git finds out by itself, from its credential helper, a netrc file or an ssh agent.")
		}
	}
	switch u.Scheme {
	case "git", "https", "ssh":
		if !hostSyntax.MatchString(u.Host) || strings.Trim(u.Path, "/") == "" {
			return Source{}, invalid("%q does not name a repository", text)
		}
	case "file":
		if u.Host != "" || !path.IsAbs(u.Path) {
			return Source{}, invalid("%q does not name a repository", text).WithHint("Write file:/// and the absolute path.")
		}
	case "http":
		return Source{}, invalid("what comes by http may have been changed on its way").WithHint("Write https:// instead.")
	default:
		return Source{}, invalid("a repository cannot be fetched by %q", u.Scheme).WithHint("Write git://, https:// or ssh://.")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Opaque != "" {
		return Source{}, invalid("%q does not name a repository: there is a ? in it", text)
	}
	ref := u.Fragment
	switch {
	case ref == "" && strings.HasSuffix(text, "#"):
		return Source{}, invalid("there is no branch, tag or commit behind the # of %q", text)
	case ref != "" && (len(ref) > maxRef || !refSyntax.MatchString(ref) || strings.Contains(ref, "..") ||
		strings.Contains(ref, "//") || strings.HasSuffix(ref, "/")):
		return Source{}, invalid("%q is not the name of a branch, tag or commit", ref)
	}
	u.Fragment, u.RawFragment = "", ""
	s := Source{Remote: u.String(), Ref: ref}
	if len(s.String()) > maxText { // letters outside ASCII are written as %XX, each three times as long
		return Source{}, invalid("the URL of the repository is longer than %d characters when it is escaped", maxText)
	}
	return s, nil
}

// ModulePath returns the path of the module in dir, as its go.mod says. The error is of kind
// [k6x.Invalid] if there is no module.
func ModulePath(dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", k6x.Errorf(k6x.Invalid, "there is no directory %s", dir).WithCause(err)
	}
	if !info.IsDir() {
		return "", k6x.Errorf(k6x.Invalid, "%s is not a directory", dir)
	}
	data, err := disk.ReadFile(filepath.Join(dir, "go.mod"), gomod.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", noModule(dir, "it has no go.mod").WithCause(err)
	} else if err != nil {
		return "", noModule(dir, "its go.mod cannot be read").WithCause(err)
	}
	name := modfile.ModulePath(data)
	if name == "" {
		return "", noModule(dir, "its go.mod does not say what the module is called")
	}
	if err := module.CheckPath(name); err != nil {
		return "", noModule(dir, "its go.mod gives it a name that no module can have").WithCause(err)
	}
	return name, nil
}

func noModule(dir, why string) *k6x.Error {
	return k6x.Errorf(k6x.Invalid, "%s is not a Go module: %s", dir, why).
		WithHint("Name the directory that has the go.mod of the extension.")
}

package gotool

import (
	"cmp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k6x/internal/cage"
)

// CompilePolicy returns what a go command, or a compiler or linker that it would start, may do to make a binary in the
// directory work of what is in the module cache.
func (t *Tool) CompilePolicy(dirs Dirs, work string) cage.Policy {
	toolchains, _ := filepath.Glob(filepath.Join(dirs.ModCache, "golang.org", "toolchain@*")) // the pattern is well-formed
	return cage.Policy{
		Exec:  slices.Concat(t.programs(), toolchains),
		Read:  []string{dirs.ModCache, dirs.Home, cmp.Or(dirs.GoPath, dirs.Home)},
		Write: []string{work, dirs.Cache},
	}
}

// FetchPolicy returns what a go command may do to bring modules, and toolchains, into the module cache. It runs no
// compiler.
func (t *Tool) FetchPolicy(dirs Dirs, work string) cage.Policy {
	network := cage.Ports
	if t.Egress == nil || t.Personal && slices.ContainsFunc(t.Fetch, allowsSSH) {
		network = cage.AnyNetwork // ssh goes by no proxy
	}
	// A toolchain that comes to be is used at once. Nothing but what is golang.org's gets there.
	programs := []string{filepath.Join(dirs.ModCache, "golang.org")}
	if path, err := exec.LookPath("git"); err == nil {
		programs = append(programs, installation(path))
	}
	if t.Personal {
		programs = append(programs, ownPrograms()...)
	}
	return cage.Policy{
		Exec:    append(t.programs(), programs...),
		Read:    slices.Concat(networkFiles, t.fetchFiles()),
		Write:   []string{work, dirs.ModCache, dirs.Cache, dirs.Home, cmp.Or(dirs.GoPath, dirs.Home)},
		Network: network,
		Ports:   t.Egress.Ports(),
	}
}

// allowsSSH reports whether a variable lets git use ssh.
func allowsSSH(kv string) bool {
	protocols, ok := strings.CutPrefix(kv, "GIT_ALLOW_PROTOCOL=")
	return ok && strings.Contains(protocols, "ssh")
}

// GitPolicy returns what a git may do that fetches a repository into dir for the user whose own build this is.
func GitPolicy(program, dir string) cage.Policy {
	return cage.Policy{
		Exec:    append(ownPrograms(), installation(program)),
		Read:    slices.Concat(networkFiles, ReadOwn().Files),
		Write:   []string{dir},
		Network: cage.AnyNetwork,
	}
}

// programs returns what has the toolchain, and the C compiler where one is named that is not the system's.
func (t *Tool) programs() []string {
	list := []string{t.Root}
	if path, err := filepath.EvalSymlinks(t.Path); err == nil {
		list = append(list, path)
	}
	compilers := []string{"gcc", "g++", "clang", "clang++"} // which go looks for where none is named
	for _, kv := range t.Codegen {
		key, value, _ := strings.Cut(kv, "=")
		if words := strings.Fields(value); len(words) > 0 && slices.Contains(compilerVariables, key) {
			compilers = append(compilers, words[0])
		}
	}
	for _, name := range compilers {
		if path, err := exec.LookPath(name); err == nil {
			list = append(list, installation(path))
		}
	}
	return list
}

// compilerVariables name programs.
var compilerVariables = []string{"CC", "CXX", "FC", "AR"}

// installation returns the directory of all that belongs to a program: the parent of bin, or else the program's own. Where other things
// are there too, as in the user's home, it is the program alone.
func installation(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	dir := filepath.Dir(path)
	if filepath.Base(dir) == "bin" {
		dir = filepath.Dir(dir)
	}
	home, _ := os.UserHomeDir() // "" if there is none
	if rel, err := filepath.Rel(dir, home); err == nil && filepath.IsLocal(rel) || dir == filepath.Join(home, ".local") ||
		slices.Contains([]string{"/", "/usr", "/usr/local"}, dir) || filepath.Dir(dir) == "/" {
		return path
	}
	return dir
}

// networkFiles are what programs read to find hosts and to check their identity.
var networkFiles = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/passwd",
	"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/ca-trust",
	"/etc/ca-certificates", "/usr/local/share/ca-certificates", "/etc/crypto-policies", "/etc/gitconfig",
}

// fetchFiles returns the files and directories that the settings for fetching modules name.
func (t *Tool) fetchFiles() []string {
	var list []string
	for _, kv := range t.Fetch {
		switch key, value, _ := strings.Cut(kv, "="); key {
		case "SSL_CERT_FILE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "NETRC":
			list = append(list, value)
		case "SSL_CERT_DIR":
			list = append(list, filepath.SplitList(value)...)
		case "GOPROXY":
			for location := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == '|' }) {
				if u, err := url.Parse(strings.TrimSpace(location)); err == nil && u.Scheme == "file" {
					list = append(list, filepath.FromSlash(u.Path))
				}
			}
		}
	}
	return slices.DeleteFunc(list, func(path string) bool { return !filepath.IsAbs(path) })
}

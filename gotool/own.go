package gotool

import (
	"cmp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Own is what belongs to the user whose own build this is: how git and ssh get at repositories.
type Own struct {
	Files     []string // absolute: configuration and credentials of git and ssh, and what they name
	Env       []string // KEY=VALUE for git and ssh
	Hosts     []string // that the configuration of git sends requests for others to
	Protocols []string // of git by which it does so
}

// ownVariables are those for git and ssh that name credentials, configuration or a way; ownPrefixes begin others.
var (
	ownVariables = []string{"GIT_ASKPASS", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_AUTH_SOCK", "GIT_PROXY_COMMAND", "GIT_ALLOW_PROTOCOL"}
	ownPrefixes  = []string{"GIT_CONFIG_", "GIT_SSH", "GIT_SSL_"}
)

// IsOwn reports whether a variable is one of the user's for git and ssh; others could turn git to another repository.
func IsOwn(key string) bool {
	return slices.Contains(ownVariables, key) ||
		slices.ContainsFunc(ownPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// ReadOwn returns what this process's user has.
func ReadOwn() Own {
	var own Own
	for _, kv := range os.Environ() {
		key, value, _ := strings.Cut(kv, "=")
		if !IsOwn(key) || value == "" {
			continue
		}
		own.Env = append(own.Env, kv)
		for _, word := range append(strings.Fields(value), value) { // a key or a file of settings, say
			if word = strings.Trim(word, `'"`); filepath.IsAbs(word) {
				own.Files = append(own.Files, word)
			}
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		config := cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config"))
		includes, _ := filepath.Glob(filepath.Join(home, ".gitconfig*"))
		own.Files = slices.Concat(own.Files, includes, []string{filepath.Join(config, "git"), filepath.Join(home, ".git-credentials"),
			filepath.Join(home, ".netrc"), filepath.Join(config, "gh"), filepath.Join(home, ".ssh")})
		if _, err := os.Stat(filepath.Join(home, ".gitconfig")); err == nil && os.Getenv("GIT_CONFIG_GLOBAL") == "" {
			own.Env = append(own.Env, "GIT_CONFIG_GLOBAL="+filepath.Join(home, ".gitconfig")) // the go command has a home of its own
		}
	}
	own.Files = append(own.Files, "/etc/ssh/ssh_config", "/etc/ssh/ssh_config.d", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
	own.readInsteadOf()
	return own
}

// readInsteadOf takes in what stands for other URLs in the configuration of git.
func (own *Own) readInsteadOf() {
	cmd := exec.Command("git", "config", "-z", "--get-regexp", `^url\..*\.insteadof$`)
	cmd.Dir = os.TempDir() // a repository that this process is in has no say
	out, err := cmd.Output()
	if err != nil { // there is no git, or no such setting
		return
	}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		key, _, _ := strings.Cut(entry, "\n")
		base := strings.TrimSuffix(strings.TrimPrefix(key, "url."), ".insteadof")
		u, err := url.Parse(base)
		switch {
		case base == "":
			continue
		case filepath.IsAbs(base):
			own.Files, own.Protocols = append(own.Files, base), append(own.Protocols, "file")
		case err == nil && u.Scheme == "file":
			own.Files, own.Protocols = append(own.Files, filepath.FromSlash(u.Path)), append(own.Protocols, "file")
		case err == nil && u.Host != "":
			own.Hosts, own.Protocols = append(own.Hosts, u.Hostname()), append(own.Protocols, u.Scheme)
		default: // git@host:path
			own.Protocols = append(own.Protocols, "ssh")
		}
	}
	slices.Sort(own.Protocols)
	own.Protocols = slices.Compact(own.Protocols)
}

// ownPrograms returns the programs that variables of the user's name.
func ownPrograms() []string {
	var list []string
	for _, key := range []string{"GIT_ASKPASS", "SSH_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_PROXY_COMMAND"} {
		words := strings.Fields(os.Getenv(key))
		if len(words) == 0 {
			continue
		}
		for _, name := range []string{os.Getenv(key), strings.Trim(words[0], `'"`)} {
			if path, err := exec.LookPath(name); err == nil {
				list = append(list, installation(path))
				break
			}
		}
	}
	return list
}

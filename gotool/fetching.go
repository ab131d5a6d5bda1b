package gotool

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"k6x"
)

// defaultProxy is the GOPROXY where none is set: that of the go command without direct, by which every
// module could send us to a host of its choice.
const defaultProxy = "https://proxy.golang.org"

// SSHCommand is a GIT_SSH_COMMAND that never asks, and gives up on a host that does not answer.
const SSHCommand = "ssh -o ControlMaster=no -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"

// Fetching returns env, KEY=VALUE for a go command of which the last one of a key counts, with what fetching modules
// means here unless the operator says otherwise: a module comes from its own host only if GONOPROXY or
// GOPRIVATE match it, and git uses no protocol that is not encrypted. Direct are more patterns of modules that
// come from their own hosts; they are not looked up in the checksum database either. More are protocols that git may use as well. A malformed one is an error of kind
// [k6x.Invalid].
func Fetching(env, direct []string, more ...string) ([]string, error) {
	env = slices.Clip(env)
	get := func(keys ...string) (value string) {
		for _, key := range keys {
			for _, kv := range env {
				if v, ok := strings.CutPrefix(kv, key+"="); ok {
					value = v
				}
			}
			if value != "" {
				break
			}
		}
		return value
	}
	if get("GOPROXY") == "" {
		env = append(env, "GOPROXY="+defaultProxy)
	}
	patterns, err := joinPatterns(direct)
	if err != nil {
		return nil, err
	}
	if patterns != "" {
		for _, key := range []string{"GONOPROXY", "GONOSUMDB"} {
			if set := get(key, "GOPRIVATE"); set != "" && set != "none" {
				env = append(env, key+"="+set+","+patterns)
			} else {
				env = append(env, key+"="+patterns)
			}
		}
	}
	protocols := "https"
	if named := get("GONOPROXY", "GOPRIVATE"); named != "" && named != "none" {
		protocols += ":ssh:git+ssh"
		if get("GIT_SSH_COMMAND", "GIT_SSH") == "" {
			env = append(env, "GIT_SSH_COMMAND="+SSHCommand)
		}
	}
	if get("GOINSECURE") != "" {
		protocols += ":http"
	}
	if get("GIT_ALLOW_PROTOCOL") == "" {
		env = append(env, "GIT_ALLOW_PROTOCOL="+strings.Join(append([]string{protocols}, more...), ":"))
	}
	return env, nil
}

// joinPatterns returns patterns in the form that GOPRIVATE has.
func joinPatterns(list []string) (string, error) {
	var clean []string
	for _, pattern := range list {
		pattern = strings.TrimSpace(pattern)
		host, _, _ := strings.Cut(pattern, "/")
		if _, err := path.Match(pattern, ""); err != nil || host == "" || strings.ContainsAny(pattern, ", \t:") || pattern == "none" {
			return "", k6x.Errorf(k6x.Invalid, "%q is not a pattern of modules to fetch directly", pattern).
				WithHint("Write the beginning of their paths, as in --direct 'git.example.com/*'.")
		}
		clean = append(clean, pattern)
	}
	return strings.Join(clean, ","), nil
}

var endsDirect = regexp.MustCompile(`(^|[,|])\s*direct\s*([,|].*)?$`)

// withoutDirect returns a GOPROXY up to its direct, which is always its end.
func withoutDirect(list string) string { return endsDirect.ReplaceAllString(list, "") }

// setsProxy reports whether GOPROXY is among KEY=VALUE.
func setsProxy(env []string) bool {
	return slices.ContainsFunc(env, func(kv string) bool {
		value, ok := strings.CutPrefix(kv, "GOPROXY=")
		return ok && strings.TrimSpace(value) != ""
	})
}

// goEnvFile returns the lines of the user's file of settings for the go command, if there is such a file.
func goEnvFile(name string) []string {
	if name == "off" {
		return nil
	}
	data, _ := os.ReadFile(name)
	return strings.Split(string(data), "\n")
}

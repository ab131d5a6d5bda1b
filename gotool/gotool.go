// Package gotool finds the go command and gives it a clean environment: nothing
// of the caller's but what fetching modules needs.
package gotool

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"k6x"
	"k6x/internal/egress"
)

// Tool is a go command and what it needs to fetch modules.
type Tool struct {
	Path    string   // of the go command
	Version string   // as go env GOVERSION prints it, such as go1.26.8
	Root    string   // GOROOT of that version
	Fetch   []string // KEY=VALUE: GOPROXY and friends, proxies, certificates, netrc
	Codegen []string // KEY=VALUE of the operator's that change what is compiled; sorted
	// Personal: modules are fetched for the user whose own build this is, by ssh too.
	Personal bool
	Egress   *egress.Proxy // the way to the network, which its maker closes; nil: that of Fetch
}

// Settings of the go command that fetching modules depends on; go env knows them,
// wherever they were set.
var fetchSettings = []string{"GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS", "GOAUTH"}

// Variables of the environment that fetching modules depends on.
var fetchVariables = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "NETRC",
	"SystemRoot", "ProgramData", // without which nothing works on windows
}

// codegenVariables change the bytes of a binary, so they are part of its recipe.
var codegenVariables = []string{
	"GOAMD64", "GOARM64", "GOARM", "GO386", "GOMIPS", "GOMIPS64", "GOPPC64", "GORISCV64", "GOWASM",
	"GOEXPERIMENT", "GOFIPS140",
	"CC", "CXX", "FC", "AR", "CGO_CFLAGS", "CGO_CPPFLAGS", "CGO_CXXFLAGS", "CGO_FFLAGS", "CGO_LDFLAGS",
}

// managedVariables are set for each build and cannot be chosen.
var managedVariables = []string{
	"GOOS", "GOARCH", "GOFLAGS", "GOENV", "GOTOOLCHAIN", "GOWORK", "GO111MODULE", "GOROOT", "GOPATH",
	"GOMODCACHE", "GOCACHE", "GOCACHEPROG", "GOTMPDIR", "TMPDIR", "CGO_ENABLED", "GOTELEMETRY",
}

// Find asks the go command on PATH about itself. Extra are KEY=VALUE that the operator
// adds to the environment of the go command; what is set for each build may not be among
// them. Direct are patterns of modules that are fetched from their own hosts, and protocols more of those of git, see [Fetching]. It returns an
// error of kind [k6x.Invalid] for a bad extra or pattern, and of kind
// [k6x.Internal] with a clear message if there is no go command that works.
func Find(ctx context.Context, extra, direct []string, protocols ...string) (*Tool, error) {
	fetch, codegen, err := SplitEnv(extra)
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, k6x.Errorf(k6x.Internal, "no go command on PATH: %w", err).
			WithHint("Install Go from https://go.dev/dl/ and put its bin directory on PATH.")
	}
	out, err := ask(ctx, path, extra, "env", append([]string{"-json", "GOVERSION", "GOROOT", "GOENV"}, fetchSettings...)...)
	if err != nil {
		return nil, err
	}
	var settings map[string]string
	if err := json.Unmarshal(out, &settings); err != nil {
		return nil, k6x.Errorf(k6x.Internal, "%s env: %w", path, err)
	}
	t := &Tool{Path: path, Version: settings["GOVERSION"], Root: settings["GOROOT"]}
	if !IsRelease(t.Version) {
		return nil, k6x.Errorf(k6x.Internal, "%s is version %q, which is not a release of Go", path, t.Version)
	}
	if !setsProxy(os.Environ()) && !setsProxy(extra) && !setsProxy(goEnvFile(settings["GOENV"])) {
		settings["GOPROXY"] = withoutDirect(settings["GOPROXY"])
	}
	for _, key := range fetchSettings {
		if value := settings[key]; value != "" {
			t.Fetch = append(t.Fetch, key+"="+value)
		}
	}
	for _, key := range fetchVariables {
		if value, ok := os.LookupEnv(key); ok {
			t.Fetch = append(t.Fetch, key+"="+value)
		}
	}
	if _, ok := os.LookupEnv("NETRC"); !ok {
		if file := homeNetrc(); file != "" {
			t.Fetch = append(t.Fetch, "NETRC="+file)
		}
	}
	t.Codegen = codegen
	t.Fetch, err = Fetching(append(t.Fetch, fetch...), direct, protocols...)
	return t, err
}

// SplitEnv tells KEY=VALUE that the operator adds to the environment of the go command apart: those that change what is compiled, which are part
// of a recipe and sorted, from those for fetching. What is set for each build, more of which the caller may name, is an error of kind [k6x.Invalid].
func SplitEnv(env []string, managed ...string) (fetch, codegen []string, err error) {
	managed = append(managed, managedVariables...)
	for _, kv := range env {
		key, _, ok := strings.Cut(kv, "=")
		switch {
		case !ok || key == "":
			return nil, nil, k6x.Errorf(k6x.Invalid, "%q is not KEY=VALUE", key)
		case slices.Contains(managed, key):
			return nil, nil, k6x.Errorf(k6x.Invalid, "%s cannot be set: it is part of how a build is made reproducible", key)
		case IsCodegen(key):
			codegen = append(codegen, kv)
		default:
			fetch = append(fetch, kv)
		}
	}
	slices.Sort(codegen)
	return fetch, codegen, nil
}

// ask runs a subcommand of the go command that asks it about itself, and returns what it prints.
func ask(ctx context.Context, path string, extra []string, subcommand string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, append(strings.Fields(subcommand), args...)...)
	cmd.Dir = filepath.Dir(path) // a go.mod or go.work of the caller's has no say
	cmd.Env = slices.Concat(os.Environ(), []string{"GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off"}, extra)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, k6x.Errorf(k6x.Internal, "%s %s: %w: %s", path, subcommand, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

var release = regexp.MustCompile(`^go1\.[0-9]+(\.[0-9]+|rc[0-9]+|beta[0-9]+)?$`)

// IsRelease reports whether version is that of a released toolchain, such as go1.26.8,
// which GOTOOLCHAIN can name.
func IsRelease(version string) bool { return release.MatchString(version) }

// IsCodegen reports whether the variable key changes the bytes of a binary, so that its
// value belongs into a recipe.
func IsCodegen(key string) bool { return slices.Contains(codegenVariables, key) }

// homeNetrc returns the netrc file of the user's home, "" if there is none. The go
// command will run with another home, so it is named.
func homeNetrc() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	name := ".netrc"
	if runtime.GOOS == "windows" {
		name = "_netrc"
	}
	file := filepath.Join(home, name)
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// Dirs are the directories that a run of the go command uses.
type Dirs struct {
	Home     string // HOME; private to k6x, see [MakeHome]
	GoPath   string // GOPATH, which has what was read of the checksum database; "": go below Home
	ModCache string // GOMODCACHE
	Cache    string // GOCACHE
	Temp     string // TMPDIR and GOTMPDIR; the caller removes it
}

// MakeHome makes dir fit to be the Home of a go command, with links to those of the user's own files that are in the user's home: with telemetry off, for which
// there is no variable, and which otherwise starts a process that outlives the command.
func MakeHome(dir string, own ...string) error {
	config := dir // what os.UserConfigDir returns in the environment of Env
	switch runtime.GOOS {
	case "windows":
	case "darwin", "ios":
		config = filepath.Join(dir, "Library", "Application Support")
	default:
		config = filepath.Join(dir, ".config")
	}
	telemetry := filepath.Join(config, "go", "telemetry")
	if err := os.MkdirAll(telemetry, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(telemetry, "mode"), []byte("off"), 0o644); err != nil {
		return err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	for _, file := range own {
		rel, err := filepath.Rel(home, file)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		name := filepath.Join(dir, rel)
		if target, _ := os.Readlink(name); target == file {
			continue
		}
		_ = os.Remove(name) // a link to what was there before
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
			_ = os.Symlink(file, name) // where there are no links, git does without
		}
	}
	return nil
}

// Env returns the whole environment for one run of the go command. More KEY=VALUE
// come last and win.
func (t *Tool) Env(dirs Dirs, more ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + dirs.Home, "USERPROFILE=" + dirs.Home, "LocalAppData=" + dirs.Home, "AppData=" + dirs.Home,
		"GOPATH=" + cmp.Or(dirs.GoPath, filepath.Join(dirs.Home, "go")),
		"GOMODCACHE=" + dirs.ModCache,
		"GOCACHE=" + dirs.Cache,
		"TMPDIR=" + dirs.Temp, "TEMP=" + dirs.Temp, "TMP=" + dirs.Temp, "GOTMPDIR=" + dirs.Temp,
		"GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=" + t.Version,
		"GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
	}
	return slices.Concat(env, t.Fetch, t.Egress.Environ(), more)
}

// Check returns an error unless the go command still works and is the one that was found.
func (t *Tool) Check(ctx context.Context) error {
	out, err := ask(ctx, t.Path, nil, "env", "GOVERSION")
	if err != nil {
		return k6x.Errorf(k6x.Internal, "the go command does not work: what is not built yet cannot be").WithCause(err)
	}
	if now := strings.TrimSpace(string(out)); now != t.Version {
		return k6x.Errorf(k6x.Internal, "the go command is %s by now, and was %s when the service started", now, t.Version).WithHint("Start the service anew.")
	}
	return nil
}

// Platforms returns all that the go command can build for.
func (t *Tool) Platforms(ctx context.Context) ([]k6x.Platform, error) {
	out, err := ask(ctx, t.Path, nil, "tool dist list")
	if err != nil {
		return nil, err
	}
	var list []k6x.Platform
	for word := range strings.FieldsSeq(string(out)) {
		if p, err := k6x.ParsePlatform(word); err == nil {
			list = append(list, p)
		}
	}
	return list, nil
}

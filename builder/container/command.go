package container

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k6x/builder/internal/gobuild"
	"k6x/gotool"
)

// Where things are in a container. What is below cacheDir is in the volume.
const (
	ownDir   = "/k6x"
	homeDir  = ownDir + "/home"
	tempDir  = ownDir + "/tmp"
	cacheDir = "/cache"
	modCache = cacheDir + "/mod"
)

// workDir returns where a main module is built. Its name is one of its contents: what the go
// command remembers of a directory is known by the directory's name and the sizes and times
// of its files.
func workDir(files map[string]string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %d:%s\n", name, len(files[name]), files[name])
	}
	return ownDir + "/work-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// What comes out of the main module's directory next to the binary.
const (
	goModName   = "go.mod"
	goSumName   = "go.sum"
	graphName   = "graph.txt"
	importsName = "imports.txt"
)

// buildScript runs the go command with its arguments, and then asks it which go.mod requires
// what, which shows who asked for a version.
const buildScript = `go "$@"
code=$?
go mod graph >` + graphName + ` 2>/dev/null
exit $code`

// importsScript runs the go command with its arguments, which says what packages import.
const importsScript = `go mod graph >` + graphName + ` 2>/dev/null
go "$@" >` + importsName + ` 2>/dev/null
exit 0`

// limited returns a command that ends by itself some time after limit, for when no process is
// there any more to end it.
func limited(limit time.Duration, command ...string) []string {
	seconds := int(limit/time.Second) + 30
	return append([]string{"timeout", "-s", "KILL", strconv.Itoa(seconds)}, command...)
}

// job returns the run of a script, with args, in the main module of b.
func (b *build) job(script string, args ...string) job {
	limit := b.e.cfg.Timeout
	return job{
		image:   b.image,
		command: limited(limit, append([]string{"sh", "-c", script, "sh"}, args...)...),
		env:     slices.Concat(b.e.fetch, gobuild.Env(b.recipe)),
		files:   b.files,
		dir:     b.workDir,
		limit:   limit,
		volume:  b.e.cfg.Volume,
		into:    b.dir,
	}
}

// goEnv returns the whole environment that a container is started with, but for what of the
// image's has nothing to do with Go. More come last and win.
func goEnv(image []string, more []string) []string {
	vars := make(map[string]string)
	for _, kv := range image {
		key, _, _ := strings.Cut(kv, "=")
		if key != "GOROOT" && (strings.HasPrefix(key, "GO") || gotool.IsCodegen(key)) {
			vars[key] = "" // to the go command as if it were not set
		}
	}
	for _, kv := range slices.Concat([]string{
		"HOME=" + homeDir, "GOPATH=" + cacheDir + "/go", "GOMODCACHE=" + modCache, "GOCACHE=" + cacheDir + "/build",
		"TMPDIR=" + tempDir, "GOTMPDIR=" + tempDir,
		"GOENV=off", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=local", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
	}, more) {
		key, value, _ := strings.Cut(kv, "=")
		vars[key] = value
	}
	env := make([]string, 0, len(vars))
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, key+"="+vars[key])
	}
	return env
}

// clean returns what a container has printed without its directories.
func (b *build) clean(text string, progress *gobuild.Progress) string {
	return gobuild.Clean(progress.Without(text), b.workDir, gobuild.Place{Dir: modCache}, gobuild.Place{Dir: b.workDir}, gobuild.Place{Dir: tempDir, As: "tmp"},
		gobuild.Place{Dir: cacheDir, As: gobuild.Outside}, gobuild.Place{Dir: b.image.root, As: "GOROOT"})
}

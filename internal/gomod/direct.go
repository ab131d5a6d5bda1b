package gomod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"k6x/internal/cage"
)

// Bounds on one run of the go command.
const (
	directTime   = 5 * time.Minute // a repository may be large
	directOutput = 16 << 20        // bytes
	directRuns   = 4               // at once
)

// direct fetches from where modules are developed, by running the go command.
type direct struct {
	ProxyConfig
	running      *semaphore.Weighted
	asConfigured bool // keep GOPROXY as it is
}

// listed is what go list -m -json prints.
type listed struct {
	Version  string
	Versions []string
	GoMod    string // file name
}

func (d *direct) versions(ctx context.Context, modulePath string) ([]string, error) {
	l, err := d.list(ctx, "-versions", "-retracted", modulePath+"@latest")
	return l.Versions, err
}

func (d *direct) commit(ctx context.Context, modulePath, hash string) (string, error) {
	l, err := d.list(ctx, modulePath+"@"+hash)
	return l.Version, err
}

func (d *direct) goMod(ctx context.Context, modulePath, version string) ([]byte, error) {
	l, err := d.list(ctx, modulePath+"@"+version)
	if err != nil {
		return nil, err
	}
	if l.GoMod == "" {
		return nil, errors.New("go list -m has no go.mod file")
	}
	return ReadFile(l.GoMod, MaxFile)
}

// otherPath is how the go command says that a go.mod file is that of another module.
var otherPath = regexp.MustCompile(`module declares its path as: (\S+)\s+but was required as: (\S+)`)

// list runs go list -m -json in an empty module; the last argument is path@version. When it returns, neither the
// go command nor anything it started is left. Errors of [egress.Proxy] are as they are.
func (d *direct) list(ctx context.Context, args ...string) (listed, error) {
	if path, _, _ := strings.Cut(args[len(args)-1], "@"); !d.asConfigured {
		if err := d.Egress.Check(path); err != nil {
			return listed{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, directTime)
	defer cancel()
	if err := d.running.Acquire(ctx, 1); err != nil {
		return listed{}, err
	}
	defer d.running.Release(1)
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return listed{}, err
	}
	dir, err := os.MkdirTemp(d.Dir, "go-*")
	if err != nil {
		return listed{}, err
	}
	defer os.RemoveAll(dir)
	// Else one of a directory above would have its say.
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module empty\n"), 0o600); err != nil {
		return listed{}, err
	}
	cmd := exec.CommandContext(ctx, d.Go, append([]string{"list", "-m", "-json"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(d.Env), "GOWORK=off", "TMPDIR="+dir, "GOTMPDIR="+dir)
	if !d.asConfigured {
		cmd.Env = append(cmd.Env, "GOPROXY=direct")
	}
	stdout, stderr := &cage.Output{Max: directOutput}, &cage.Output{Max: 64 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := d.Run(cmd, dir); err != nil {
		if refused := d.Egress.Explain(stderr.String()); refused != nil {
			return listed{}, refused.WithCause(err)
		}
		if match := otherPath.FindStringSubmatch(stderr.String()); match != nil {
			return listed{}, OtherPath(match[1], match[2])
		}
		return listed{}, fmt.Errorf("go list -m: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var l listed
	if err := json.Unmarshal([]byte(stdout.String()), &l); err != nil {
		return listed{}, fmt.Errorf("go list -m: %w", err)
	}
	return l, nil
}

package gomod

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/sync/semaphore"

	"k6x/internal/cage"
	"k6x/internal/egress"
	"k6x/internal/web"
)

// maxVersions bounds the versions of one module.
const maxVersions = 10_000

// ProxyConfig says how a [Proxy] fetches.
type ProxyConfig struct {
	Env    []string     // whole environment of the go command; GOPROXY, GONOPROXY, GOPRIVATE, GOAUTH, NETRC are read from it
	Client *http.Client // nil: that of [web.NewClient]
	Go     string       // path of the go command, for direct fetches
	Dir    string       // for temporary directories of the go command; it is made if need be

	// Run runs a go command that may change the directory besides Go's caches, and kills what is left of it when its context ends;
	// nil: as this process does.
	Run func(cmd *exec.Cmd, dir string) error

	Egress *egress.Proxy // the way to the network that Env has for the go command; nil: it connects by itself
}

// Proxy fetches what the go command would fetch, from where it would: by the
// rules of GOPROXY, GONOPROXY and GOPRIVATE (https://go.dev/ref/mod#environment-variables).
// Its errors wrap [ErrAbsent] or a *[Refusal] if they are definite, and [ErrDirect] if the go command failed.
type Proxy struct {
	hops    []hop
	noProxy string // patterns of modules that are fetched directly
	client  *http.Client
	netrc   netrc
	direct  *direct
}

// NewProxy reads the settings in cfg.Env. Errors are of kind Invalid.
func NewProxy(cfg ProxyConfig) (*Proxy, error) {
	env := make(map[string]string, len(cfg.Env))
	for _, kv := range cfg.Env {
		key, value, _ := strings.Cut(kv, "=")
		env[key] = value
	}
	if cfg.Client == nil {
		cfg.Client = web.NewClient(cfg.Egress.Upstream(cfg.Env))
	}
	if cfg.Run == nil {
		cfg.Run = func(cmd *exec.Cmd, _ string) error { return cage.Run(cmd) }
	}
	p := &Proxy{client: cfg.Client, noProxy: cmp.Or(env["GONOPROXY"], env["GOPRIVATE"]),
		direct: &direct{ProxyConfig: cfg, running: semaphore.NewWeighted(directRuns)}}
	var err error
	switch env["GOAUTH"] {
	case "", "netrc":
		if p.netrc, err = readNetrc(env["NETRC"]); err != nil {
			return nil, err
		}
	case "off":
	default: // only the go command knows how to ask for credentials
		p.hops = []hop{{origin: p.direct}}
		p.noProxy = ""
		p.direct.asConfigured = true
		return p, nil
	}
	p.hops, err = p.parseHops(env["GOPROXY"])
	return p, err
}

// Versions returns the versions that are tagged, newest first; pseudo-versions are not
// among them. None at all is [ErrAbsent] only if that is what the proxy says.
func (p *Proxy) Versions(ctx context.Context, modulePath string) ([]string, error) {
	versions, err := try(ctx, p, modulePath, func(o origin) ([]string, error) { return o.versions(ctx, modulePath) })
	if err != nil {
		return nil, err
	}
	return Tagged(modulePath, versions), nil
}

// Tagged keeps the newest of the versions that a module can have, without
// pseudo-versions, newest first.
func Tagged(modulePath string, versions []string) []string {
	kept := make([]string, 0, len(versions))
	for _, v := range versions {
		if module.Check(modulePath, v) == nil && !module.IsPseudoVersion(v) {
			kept = append(kept, v)
		}
	}
	SortVersions(kept)
	return kept[:min(len(kept), maxVersions)]
}

// SortVersions puts the newest first.
func SortVersions(versions []string) {
	slices.SortFunc(versions, func(a, b string) int { return cmp.Or(semver.Compare(b, a), strings.Compare(b, a)) })
}

// GoMod returns the go.mod file of a module version.
func (p *Proxy) GoMod(ctx context.Context, m module.Version) ([]byte, error) {
	return try(ctx, p, m.Path, func(o origin) ([]byte, error) { return o.goMod(ctx, m.Path, m.Version) })
}

// Commit returns the version, mostly a pseudo-version, that a commit has.
func (p *Proxy) Commit(ctx context.Context, modulePath, hash string) (string, error) {
	version, err := try(ctx, p, modulePath, func(o origin) (string, error) { return o.commit(ctx, modulePath, hash) })
	if err != nil {
		return "", err
	}
	if err := module.Check(modulePath, version); err != nil || !semver.IsValid(version) {
		return "", fmt.Errorf("%w: the module proxy names a version that cannot be", ErrAbsent)
	}
	if rev, err := module.PseudoVersionRev(version); err == nil && !strings.HasPrefix(hash, rev) && !strings.HasPrefix(rev, hash) {
		return "", fmt.Errorf("%w: the module proxy names another commit", ErrAbsent)
	}
	return version, nil
}

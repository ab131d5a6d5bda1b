package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"

	"k6x/internal/gomod"
)

// Bounds on what a module proxy may send.
const (
	maxList   = 16 << 20 // bytes
	maxInfo   = 1 << 20
	proxyTime = 30 * time.Second // for one request

	maxRedirects = 10
)

const userAgent = "k6x"

// proxy fetches what the go command would fetch, from where it would: by the
// rules of GOPROXY, GONOPROXY and GOPRIVATE (https://go.dev/ref/mod#environment-variables).
// Its errors wrap errAbsent or a *refusal if they are definite.
type proxy struct {
	hops    []hop
	noProxy string // patterns of modules that are fetched directly
	client  *http.Client
	netrc   netrc
	direct  *direct
}

func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = proxyTime
	transport.MaxIdleConnsPerHost = fetchesAtOnce
	return &http.Client{Transport: transport, CheckRedirect: checkRedirect}
}

// checkRedirect lets nobody lead us from an encrypted connection to one that is not.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("a redirect from https to " + req.URL.Scheme)
	}
	return nil
}

// newProxy reads the settings in cfg.Env.
func newProxy(cfg Config) (*proxy, error) {
	env := make(map[string]string, len(cfg.Env))
	for _, kv := range cfg.Env {
		key, value, _ := strings.Cut(kv, "=")
		env[key] = value
	}
	p := &proxy{client: cfg.Client, direct: &direct{command: cfg.Go, env: cfg.Env, egress: cfg.Egress, run: cfg.Run, running: make(chan struct{}, directRuns)}}
	p.direct.dir = newDisk(cfg.Dir).temp
	p.noProxy = env["GONOPROXY"]
	if p.noProxy == "" {
		p.noProxy = env["GOPRIVATE"]
	}
	switch env["GOAUTH"] {
	case "", "netrc":
		var err error
		if p.netrc, err = readNetrc(env["NETRC"]); err != nil {
			return nil, err
		}
	case "off":
	default: // only the go command knows how to ask for credentials
		p.hops = []hop{{direct: true}}
		p.noProxy = ""
		p.direct.asConfigured = true
		return p, nil
	}
	var err error
	p.hops, err = parseProxies(env["GOPROXY"])
	return p, err
}

// versions returns the versions that are tagged, newest first; pseudo-versions are not
// among them. None at all is errAbsent only if that is what the proxy says.
func (p *proxy) versions(ctx context.Context, modulePath string) ([]string, error) {
	return try(ctx, p, modulePath,
		func(ctx context.Context, base *url.URL) ([]string, error) {
			data, err := p.get(ctx, base, modulePath, "@v/list", maxList)
			if err != nil {
				return nil, err
			}
			var versions []string
			var wrong error
			for line := range strings.SplitSeq(string(data), "\n") {
				if words := strings.Fields(line); len(words) == 0 {
					continue
				} else if modsemver.IsValid(words[0]) {
					versions = append(versions, words[0])
				} else {
					wrong = errors.New("the module proxy sends no list of versions")
				}
			}
			if len(versions) > 0 {
				wrong = nil // one odd line does no harm
			}
			return tagged(modulePath, versions), wrong
		},
		func(ctx context.Context) ([]string, error) {
			versions, err := p.direct.versions(ctx, modulePath)
			return tagged(modulePath, versions), err
		})
}

// tagged keeps the newest of the versions that a module can have, without
// pseudo-versions.
func tagged(modulePath string, versions []string) []string {
	kept := make([]string, 0, len(versions))
	for _, v := range versions {
		if module.Check(modulePath, v) == nil && !module.IsPseudoVersion(v) {
			kept = append(kept, v)
		}
	}
	sortVersions(kept)
	return kept[:min(len(kept), maxVersions)]
}

// goMod returns the go.mod file of a module version.
func (p *proxy) goMod(ctx context.Context, modulePath, version string) ([]byte, error) {
	escaped, err := module.EscapeVersion(version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	return try(ctx, p, modulePath,
		func(ctx context.Context, base *url.URL) ([]byte, error) {
			return p.get(ctx, base, modulePath, "@v/"+escaped+".mod", gomod.MaxFile)
		},
		func(ctx context.Context) ([]byte, error) { return p.direct.goMod(ctx, modulePath, version) })
}

// commit returns the version, mostly a pseudo-version, that a commit has.
func (p *proxy) commit(ctx context.Context, modulePath, hash string) (string, error) {
	version, err := try(ctx, p, modulePath,
		func(ctx context.Context, base *url.URL) (string, error) {
			data, err := p.get(ctx, base, modulePath, "@v/"+hash+".info", maxInfo)
			if err != nil {
				return "", err
			}
			var info struct{ Version string }
			if err := json.Unmarshal(data, &info); err != nil {
				return "", fmt.Errorf("the module proxy sends no JSON: %w", err)
			}
			return info.Version, nil
		},
		func(ctx context.Context) (string, error) { return p.direct.commit(ctx, modulePath, hash) })
	if err != nil {
		return "", err
	}
	if err := module.Check(modulePath, version); err != nil || !modsemver.IsValid(version) {
		return "", fmt.Errorf("%w: the module proxy names a version that cannot be", errAbsent)
	}
	if rev, err := module.PseudoVersionRev(version); err == nil && !strings.HasPrefix(hash, rev) && !strings.HasPrefix(rev, hash) {
		return "", fmt.Errorf("%w: the module proxy names another commit", errAbsent)
	}
	return version, nil
}

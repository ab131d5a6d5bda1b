package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/goproxytest"

	"k6x"
	"k6x/internal/warmcache"
)

// building is what is built: the real k6 with extensions, or in short a stand-in for it that takes no time.
type building struct {
	k6         string // version
	extensions []extension
	registry   string
	env        []string // for the go command
	modules    *goproxytest.Server

	cacheDir string       // of all services of warm; "": there was none
	built    map[int]bool // which combinations they have built
}

// extension is one version of an extension, and what that is called in a list.
type extension struct{ module, version, name string }

// combination is a k6 with some of the extensions.
type combination struct {
	path       string // canonical
	extensions []extension
}

// building returns what is built, the same one each time.
func (w *world) building(ctx context.Context) (*building, error) {
	if w.builds != nil {
		return w.builds, nil
	}
	b := &building{k6: "v1.8.1", registry: filepath.Join(w.source, "testdata", "registry.json"), built: map[int]bool{}, extensions: []extension{
		{"ext.example/xk6-many", "v0.1.0", "k6/x/many"},
		{"ext.example/xk6-newer", "v0.2.0", "k6/x/newer"},
		{"ext.example/xk6-one", "v0.1.0", "k6/x/one"},
		{"ext.example/xk6-output-ticks", "v0.1.0", "ticks"},
		{"ext.example/xk6-two", "v0.2.0", "k6/x/two"},
		{"github.com/grafana/xk6-redis", "v0.3.6", "k6/x/redis"},
	}}
	tree := "ext"
	if w.short {
		tree = "standin"
		b.k6, b.registry, b.extensions = "v1.1.0", filepath.Join(w.source, "service", "testdata", "registry.json"), []extension{
			{"example.com/xk6-hello", "v0.1.1", "k6/x/hello"},
			{"example.com/xk6-newer", "v0.1.0", "k6/x/newer"},
			{"example.com/xk6-world", "v0.1.0", "k6/x/world"},
		}
	}
	var err error
	if b.modules, err = goproxytest.NewServer(filepath.Join(w.source, "testdata", tree), "127.0.0.1:0"); err != nil {
		return nil, err
	}
	b.env = append(os.Environ(), "GOPROXY="+b.modules.URL, "GOSUMDB=off")
	if !w.short {
		proxy, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
		if err != nil {
			b.modules.Close()
			return nil, err
		}
		b.env = append(os.Environ(), "GOPROXY="+b.modules.URL+","+strings.TrimSpace(string(proxy)), "GONOSUMDB=ext.example")
	}
	w.builds = b
	return b, nil
}

// combination returns the n-th combination, from 1 to b.combinations(). The last one has all extensions.
func (b *building) combination(n int) combination {
	var c combination
	var names []string
	for i, e := range b.extensions {
		if n&(1<<i) != 0 {
			c.extensions, names = append(c.extensions, e), append(names, e.name+"@"+e.version)
		}
	}
	slices.Sort(names)
	c.path = "/" + host().String() + "/" + strings.Join(append([]string{"k6@" + b.k6}, names...), ",")
	return c
}

func (b *building) combinations() int { return 1<<len(b.extensions) - 1 }

// fresh returns a combination that no service of warm has built yet.
func (b *building) fresh() (combination, error) {
	for n := 1; n < b.combinations(); n++ {
		if !b.built[n] {
			b.built[n] = true
			return b.combination(n), nil
		}
	}
	return combination{}, errors.New("there are not as many combinations: choose a smaller -count")
}

// warm starts a service that has compiled k6 with the first extension, or with all of them, and has built
// something since its start and learned from that. It compiles only what no service before it has compiled.
func (w *world) warm(ctx context.Context, b *building, all bool) (s *server, err error) {
	if b.cacheDir == "" {
		if b.cacheDir, err = w.temp("cache"); err != nil {
			return nil, err
		}
		if w.short {
			if err := warmcache.CopyStandard(cachesOf(b.cacheDir).builds); err != nil {
				return nil, err
			}
		}
	}
	if s, err = w.build(b, b.cacheDir); err != nil {
		return nil, err
	}
	n := 1
	if all {
		n = b.combinations()
	}
	c := b.combination(n)
	if b.built[n] {
		if c, err = b.fresh(); err != nil {
			return nil, err
		}
	}
	b.built[n] = true
	if _, err = ask(ctx, s, "GET", c.path, 1); err != nil {
		return nil, err
	}
	return s, learned(ctx, b.cacheDir)
}

// learned waits until services with a cache directory have learned from what they have built, which they do after they have answered: until
// there is no workspace any more.
func learned(ctx context.Context, cacheDir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("a service learns for ever from what it has built"))
	defer cancel()
	for {
		files, err := filepath.Glob(filepath.Join(cacheDir, "go", "work", "*", "*"))
		if err != nil || !slices.ContainsFunc(files, func(name string) bool { return filepath.Base(name) != "lock" }) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// build starts a service that builds.
func (w *world) build(b *building, cacheDir string, args ...string) (*server, error) {
	cmd := exec.Command(w.k6x, append([]string{"service", "--addr", "127.0.0.1:0", "--cache-dir", cacheDir, "--registry", b.registry}, args...)...)
	cmd.Env = b.env
	s, err := w.start("", cmd)
	if err == nil {
		s.watch()
	}
	return s, err
}

func host() k6x.Platform { return k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH} }

// buildLimit is how long builds may take, all platforms at once if need be.
const buildLimit = time.Hour

// ask sends one request of each of so many clients, and returns what that came to.
func ask(ctx context.Context, s *server, method, path string, clients int) (outcome, error) {
	return load{addr: s.addr, method: method, paths: []string{path}, clients: clients, requests: clients, status: 200, size: -1, limit: buildLimit}.run(ctx)
}

// askFor returns the seconds until one client has the binary of a combination.
func askFor(ctx context.Context, s *server, c combination) (float64, error) {
	return took(func() error { _, err := ask(ctx, s, "GET", c.path, 1); return err })
}

// settle lets the disk come to rest, so that nobody pays for what another has written. In short, nobody compares.
func (w *world) settle(ctx context.Context) {
	if !w.short {
		_ = exec.CommandContext(ctx, "sync").Run()
	}
}

// Package resolver turns a [k6x.List] into exact modules: versions of k6
// and of extension modules that agree with each other.
//
//	list ─► index ─► candidates ─► solve ─► Resolution
//	        names    versions      go.mod files
//
// Registries, files or URLs, say which module a name stands for; they overlay each
// other, a filter refuses entries, and together they are an index that is swapped as
// a whole when one of them changes. Version lists and go.mod files come from a module
// proxy by the go command's own rules and are kept on disk. The solver looks for the
// highest versions whose go.mod files agree, so that what it names is what minimal
// version selection selects when the main module requires exactly these versions.
//
// The files: source.go reads registries again and again, sourceurl.go those at a URL; registry.go parses them, index.go puts them
// together, filter.go and policy.go say what of that may be had, and warnings.go what a registry says against a binary. resolve.go tries the
// major versions of k6: candidates.go finds the versions that may be chosen, solve.go chooses, and conflict.go explains why there is no
// choice. published.go says which extensions, and which versions of all, there are, catalogue.go
// what people are told of them. modules.go asks the module proxy: versions.go for
// lists of versions, modfiles.go for go.mod files; unavailable.go explains an error, fetched.go keeps answers in memory, files.go on disk.
package resolver

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmespath/go-jmespath"

	"k6x"
	"k6x/internal/egress"
	"k6x/internal/gomod"
	"k6x/internal/web"
)

// DefaultRegistry is the registry that is used when none is configured, with the
// embedded one beneath it.
const DefaultRegistry = "https://registry.k6.io/registry.json"

// Config says where a [Resolver] looks and what it allows. The zero value of each
// field but Dir works.
type Config struct {
	Registries        []string // locations: file path, http(s) URL, or "embedded"; later ones overlay earlier ones; none: DefaultRegistry over the embedded one
	Filter            string   // jmespath over the array of entries; "": all of them
	AllowModules      string   // patterns, as GOPRIVATE has them, of module paths that may be named without a registry; "": none
	AllowBuildSemvers bool     // whether pseudo-versions and v0.0.0+COMMIT may be asked for
	Cgo               bool     // whether extensions that need cgo may be built
	Toolchain         string   // such as go1.26.8; modules whose go line wants a newer one do not work with it; "": any will do
	Dir               string   // directory of the resolver's own: registry copies, version lists, go.mod files
	Go                string   // path of the go command, for direct fetches; "": go on PATH
	Env               []string // whole environment for that go command; GOPROXY, GONOPROXY, GOPRIVATE, GOAUTH, NETRC are read from it
	// Run runs a go command that fetches modules and may change the directory besides Go's caches, and kills what is left of it
	// when its context ends; nil: as this process does.
	Run            func(cmd *exec.Cmd, dir string) error
	Egress         *egress.Proxy // the way to the network that Env has for that go command; nil: it connects by itself
	Client         *http.Client  // nil: one with sane timeouts that uses the proxies of Egress or, without, of Env
	Refresh        time.Duration // how often registries at a URL are revalidated; 0: 10 minutes
	VersionsMaxAge time.Duration // life of a version list; 0: 5 minutes
	Logger         *slog.Logger  // nil: discard
}

// Resolver turns dependency lists into modules. All methods may be called at once.
type Resolver struct {
	cfg     Config
	filter  *jmespath.JMESPath
	sources []*source // lowest first
	rebuild sync.Mutex
	index   atomic.Pointer[index]
	mods    *modules
}

// Resolution is what a list resolves to.
type Resolution struct {
	Modules []k6x.Module // k6 first, extensions sorted by path; Names are those asked for
	Cgo     bool         // whether one of the extensions needs cgo
}

// New loads the registries. It returns an error of kind [k6x.Invalid] if a file cannot be
// read or understood, or if the filter, the patterns or the settings of the module proxy
// are wrong. A registry at a URL is tried for a few seconds if there is no copy of it on
// disk; if that fails, the resolver works without until [Resolver.Run] gets it.
func New(ctx context.Context, cfg Config) (*Resolver, error) {
	if cfg.Dir == "" {
		return nil, k6x.Errorf(k6x.Invalid, "the resolver needs a directory")
	}
	cfg.Refresh, cfg.VersionsMaxAge = cmp.Or(max(cfg.Refresh, 0), 10*time.Minute), cmp.Or(max(cfg.VersionsMaxAge, 0), 5*time.Minute)
	cfg.Logger, cfg.Go = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), cmp.Or(cfg.Go, "go")
	if cfg.Client == nil {
		cfg.Client = web.NewClient(cfg.Egress.Upstream(cfg.Env))
	}
	var err error
	if cfg.AllowModules, err = cleanPatterns(cfg.AllowModules); err != nil {
		return nil, err
	}
	r := &Resolver{cfg: cfg}
	if r.filter, err = compileFilter(cfg.Filter); err != nil {
		return nil, err
	}
	proxy, err := gomod.NewProxy(gomod.ProxyConfig{
		Env: cfg.Env, Client: cfg.Client, Go: cfg.Go, Dir: filepath.Join(cfg.Dir, "tmp"), Run: cfg.Run, Egress: cfg.Egress,
	})
	if err != nil {
		return nil, err
	}
	r.mods = newModules(cfg, proxy, func(path string) bool { return r.index.Load().has(path) })
	if err = r.openSources(ctx); err == nil {
		err = r.reindex()
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Check returns the error of [New] for a filter or patterns that are wrong, whatever the registries have.
func (cfg Config) Check() error {
	_, err := cleanPatterns(cfg.AllowModules)
	if err == nil {
		_, err = compileFilter(cfg.Filter)
	}
	return err
}

// openSources loads what the configuration names, beneath it what k6 itself is.
func (r *Resolver) openSources(ctx context.Context) error {
	base, err := embeddedSource(false, r.cfg.Logger)
	if err != nil {
		return err
	}
	locations := r.cfg.Registries
	if len(locations) == 0 {
		locations = []string{Embedded, DefaultRegistry}
	}
	r.sources = []*source{base}
	for _, location := range locations {
		s, err := r.openSource(ctx, location)
		if err != nil {
			return err
		}
		s.explicit = len(r.cfg.Registries) > 0
		r.sources = append(r.sources, s)
	}
	return nil
}

// reindex makes the index anew of what the sources have now. On an error the
// index stays as it was.
func (r *Resolver) reindex() error {
	r.rebuild.Lock()
	defer r.rebuild.Unlock()
	var docs []*document
	missing := ""
	for _, s := range r.sources {
		if doc := s.now().doc; doc != nil {
			docs = append(docs, doc)
		} else if s.explicit {
			docs, missing = append(docs, &document{missing: true}), s.location
		}
	}
	idx, err := newIndex(docs, r.filter, r.cfg.Filter)
	if err != nil {
		return err
	}
	idx.missing = missing
	idx.offers = sync.OnceValue(func() []Offer { return idx.makeOffers(r.cfg.Cgo) })
	if idx.nothingLeft() {
		r.cfg.Logger.Warn("the filter selects none of the extensions that the registries have", "filter", r.cfg.Filter)
	}
	r.index.Store(idx)
	return nil
}

// Run revalidates the registries until ctx ends.
func (r *Resolver) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range r.sources {
		if s.read != nil {
			wg.Go(func() { r.watch(ctx, s) })
		}
	}
	wg.Wait()
}

// watch reads a source again and again until ctx ends.
func (r *Resolver) watch(ctx context.Context, s *source) {
	timer := time.NewTimer(s.firstWait())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		changed, err := s.refresh(ctx)
		if changed {
			if err := r.reindex(); err != nil {
				r.cfg.Logger.Error("a changed registry does not go with the filter; the one before stays in use",
					"registry", s.location, "error", err)
			}
		}
		wait := s.interval
		if err != nil {
			wait = s.retry
		}
		timer.Reset(wait)
	}
}

// Refresh revalidates, for a few seconds at most, the registries whose copies are older than
// Config.Refresh. It is for programs that end before [Resolver.Run] would get to it. What cannot be
// read stays as it was, which [Resolver.Sources] tells.
func (r *Resolver) Refresh(ctx context.Context) error { return r.refresh(ctx, (*source).old) }

// Reload is Refresh for all registries, whatever the age of their copies.
func (r *Resolver) Reload(ctx context.Context) error {
	return r.refresh(ctx, func(*source) bool { return true })
}

func (r *Resolver) refresh(ctx context.Context, wanted func(*source) bool) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range r.sources {
		if s.read != nil && wanted(s) {
			wg.Go(func() { _, _ = s.refresh(ctx) })
		}
	}
	wg.Wait()
	return r.reindex()
}

const refreshTime = 10 * time.Second

// Sources reports how the registries are, lowest first.
func (r *Resolver) Sources() []SourceStatus {
	var list []SourceStatus
	for _, s := range r.sources[1:] {
		now := s.now()
		status := SourceStatus{Location: s.location, Loaded: now.doc != nil, Stale: now.err != nil, Since: now.since}
		if now.err != nil {
			status.Error = now.err.Error()
		}
		list = append(list, status)
	}
	return list
}

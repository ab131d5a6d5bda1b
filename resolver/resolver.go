package resolver

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"os/exec"
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
	log     *slog.Logger
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
	r := &Resolver{cfg: cfg, log: cfg.Logger}
	if r.filter, err = compileFilter(cfg.Filter); err != nil {
		return nil, err
	}
	d := newFiles(cfg.Dir)
	proxy, err := gomod.NewProxy(gomod.ProxyConfig{
		Env: cfg.Env, Client: cfg.Client, Go: cfg.Go, Dir: d.temp, Run: cfg.Run, Egress: cfg.Egress,
	})
	if err != nil {
		return nil, err
	}
	r.mods = newModules(cfg.Dir, d, cfg.VersionsMaxAge, proxy, r.log, func(path string) bool { return r.index.Load().has(path) })
	if err := r.openSources(ctx); err != nil {
		return nil, err
	}
	if err := r.reindex(); err != nil {
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
	base, err := embeddedSource(false, r.log)
	if err != nil {
		return err
	}
	locations := r.cfg.Registries
	if len(locations) == 0 {
		locations = []string{Embedded, DefaultRegistry}
	}
	r.sources = []*source{base}
	for _, location := range locations {
		s, err := openSource(ctx, location, r.cfg, r.parse)
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
		if doc := s.document(); doc != nil {
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
	if idx.nothingLeft() {
		r.log.Warn("the filter selects none of the extensions that the registries have", "filter", r.cfg.Filter)
	}
	r.index.Store(idx)
	return nil
}

// Run revalidates the registries until ctx ends.
func (r *Resolver) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range r.sources {
		if s.read == nil {
			continue
		}
		wg.Go(func() {
			s.watch(ctx, func() {
				if err := r.reindex(); err != nil {
					r.log.Error("a changed registry does not go with the filter; the one before stays in use",
						"registry", s.location, "error", err)
				}
			})
		})
	}
	wg.Wait()
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
		list = append(list, s.status())
	}
	return list
}

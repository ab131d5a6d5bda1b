package resolver

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/mod/module"

	"k6x/internal/gomod"
)

// Bounds on what is kept of modules.
const (
	keptLists      = 2048        // version lists in memory
	keptFiles      = 2048        // parsed go.mod files in memory
	keptNeeds      = 512         // results of needs in memory
	maxVersionList = 16 << 20    // bytes of a version list on disk
	absentFor      = time.Minute // how long a definite failure is remembered
	fetchesAtOnce  = 16          // for one module graph
)

// modules is what a module proxy says of modules.
type modules struct {
	cfg   Config // versions/ and mod/ are kept in its Dir
	temp  string // for unfinished files
	proxy *gomod.Proxy

	registered func(modulePath string) bool // it is not a client's choice

	versions *fetched[string, []string]
	files    *fetched[module.Version, *gomod.File]
	followed *lru.Cache[module.Version, *needs]

	// learned are versions that requests have found before a list had them.
	learned *lru.Cache[string, value[[]string]]
}

func newModules(cfg Config, p *gomod.Proxy, registered func(string) bool) *modules {
	m := &modules{cfg: cfg, temp: temporary(cfg.Dir), proxy: p, registered: registered}
	m.versions = &fetched[string, []string]{load: m.loadVersions, fetch: m.fetchVersions, save: m.saveVersions,
		life: cfg.VersionsMaxAge, short: cfg.VersionsMaxAge, log: cfg.Logger, values: kept[string, value[[]string]](keptLists)}
	m.files = &fetched[module.Version, *gomod.File]{load: m.loadFile, fetch: m.fetchFile, short: absentFor, log: cfg.Logger,
		values: kept[module.Version, value[*gomod.File]](keptFiles)}
	m.followed, m.learned = kept[module.Version, *needs](keptNeeds), kept[string, value[[]string]](keptLists)
	return m
}

func kept[K comparable, V any](size int) *lru.Cache[K, V] {
	values, _ := lru.New[K, V](size) // fails for a size below one only
	return values
}

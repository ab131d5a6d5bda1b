package resolver

import (
	"log/slog"
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
	dir    string // versions/ and mod/ are kept there
	disk   files
	maxAge time.Duration // of a version list
	proxy  *gomod.Proxy
	log    *slog.Logger

	registered func(modulePath string) bool // it is not a client's choice

	versions *fetched[string, []string]
	files    *fetched[module.Version, *gomod.File]
	followed *lru.Cache[module.Version, *needs]

	// learned are versions that requests have found before a list had them.
	learned *lru.Cache[string, value[[]string]]
}

func newModules(dir string, f files, maxAge time.Duration, p *gomod.Proxy, log *slog.Logger, registered func(string) bool) *modules {
	m := &modules{dir: dir, disk: f, maxAge: maxAge, proxy: p, log: log, registered: registered}
	m.versions = (&fetched[string, []string]{load: m.loadVersions, fetch: m.fetchVersions, save: m.saveVersions,
		life: maxAge, short: maxAge, log: log}).keep(keptLists)
	m.files = (&fetched[module.Version, *gomod.File]{load: m.loadFile, fetch: m.fetchFile, short: absentFor, log: log}).keep(keptFiles)
	m.followed, _ = lru.New[module.Version, *needs](keptNeeds) // fails for a size below one only
	m.learned, _ = lru.New[string, value[[]string]](keptLists)
	return m
}

package resolver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"k6x"
	"k6x/internal/disk"
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

// temporary returns the directory for unfinished files. What a process that was killed has left there is removed; others may be at
// work in it, so what is recent stays.
func temporary(dir string) string {
	dir = filepath.Join(dir, "tmp")
	disk.Sweep(dir, "", time.Hour)
	return dir
}

// keep makes name hold data durably, all of it or what was there before, and makes the directories it needs.
func keep(temp, name string, data []byte) error {
	return disk.FS{}.WriteAtomic(disk.Atomic{Name: name, Temp: temp, Sync: true}, data)
}

func keepJSON(temp, name string, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		err = keep(temp, name, data)
	}
	return err
}

// versionList is a file with the versions of a module, or the definite error that came instead of it.
type versionList struct {
	Module   string    `json:"module"`
	Versions []string  `json:"versions"` // newest first
	Fetched  time.Time `json:"fetched"`
	Status   int       `json:"status,omitempty"` // of HTTP, if that was the definite answer; 404: not there
}

// fetchVersions returns the tagged versions of a module, newest first. Errors are of kind [k6x.NotFound] if no proxy knows the module and
// [k6x.Unavailable] otherwise; they satisfy [gomod.Definite] if asking again soon would not help.
func (m *modules) fetchVersions(ctx context.Context, modulePath string) ([]string, error) {
	versions, err := m.proxy.Versions(ctx, modulePath)
	if err != nil {
		return nil, m.unavailable(modulePath, modulePath, err)
	}
	return versions, nil
}

// listed returns the versions of a module, newest first: those of its list, and those that requests have found since. Errors are
// those of fetchVersions.
func (m *modules) listed(ctx context.Context, modulePath string) ([]string, error) {
	versions, err := m.versions.get(ctx, modulePath)
	learned, ok := m.learned.Get(modulePath)
	if err != nil || !ok || learned.isDue() {
		return versions, err
	}
	versions = slices.Concat(versions, learned.value)
	gomod.SortVersions(versions)
	return slices.Compact(versions), nil
}

// learn notes that there is a version of a module, for as long as a list may be old.
func (m *modules) learn(modulePath, version string) {
	list, _ := m.versions.values.Peek(modulePath)
	old, _ := m.learned.Get(modulePath)
	if slices.Contains(list.value, version) || !old.isDue() && slices.Contains(old.value, version) {
		return
	}
	if old.isDue() || len(old.value) >= maxLearned {
		old.value = nil
	}
	m.learned.Add(modulePath, value[[]string]{value: append(slices.Clip(old.value), version), due: time.Now().Add(stale)})
}

// maxLearned bounds the versions of one module that are kept besides its list.
const maxLearned = 100

func (m *modules) saveVersions(modulePath string, v value[[]string]) {
	list := versionList{Module: modulePath, Versions: v.value, Fetched: v.fetched, Status: statusOf(v.err)}
	if v.err != nil {
		m.cfg.Logger.Warn("a module has no list of versions", "module", modulePath, "cause", k6x.AsError(v.err).Err)
		if list.Status == 0 || !m.registered(modulePath) {
			return // a setting says so, and the next start may have another; or there is no end of such modules
		}
	}
	if err := keepJSON(m.temp, m.versionsFile(modulePath), list); err != nil {
		m.cfg.Logger.Warn("a list of versions cannot be kept on disk", "module", modulePath, "error", err)
	}
}

// statusOf returns the status of HTTP that a definite error stands for, 0 if it is none.
func statusOf(err error) int {
	if refused, ok := errors.AsType[*gomod.Refusal](err); ok {
		return refused.Status
	}
	if errors.Is(err, gomod.ErrAbsent) {
		return http.StatusNotFound
	}
	return 0
}

func (m *modules) versionsFile(modulePath string) string {
	hash := sha256.Sum256([]byte(modulePath))
	return filepath.Join(m.cfg.Dir, "versions", hex.EncodeToString(hash[:])+".json")
}

// loadVersions reads a list from disk. What is not in order there counts as nothing.
func (m *modules) loadVersions(modulePath string) (v value[[]string], ok bool) {
	data, err := disk.ReadFile(m.versionsFile(modulePath), maxVersionList)
	if err != nil {
		return v, false
	}
	var list versionList
	if err := json.Unmarshal(data, &list); err != nil || list.Module != modulePath {
		m.cfg.Logger.Warn("a list of versions on disk is of no use", "module", modulePath, "error", err)
		_ = os.Remove(m.versionsFile(modulePath)) // it will be written anew
		return v, false
	}
	switch list.Status {
	case 0:
		v.value = gomod.Tagged(modulePath, list.Versions)
	case http.StatusNotFound:
		v.err = unavailable(modulePath, gomod.ErrAbsent)
	default:
		v.err = unavailable(modulePath, &gomod.Refusal{Status: list.Status})
	}
	if v.fetched = list.Fetched; v.fetched.After(time.Now()) {
		v.fetched = time.Now().Add(-m.cfg.VersionsMaxAge)
	}
	v.due = v.fetched.Add(m.cfg.VersionsMaxAge)
	return v, true
}

// unavailable is the function of that name; where nothing is fetched it says which versions of the module there are.
func (m *modules) unavailable(modulePath, item string, err error) error {
	said := unavailable(item, err)
	if refused, ok := errors.AsType[*gomod.Refusal](err); !ok || refused.Status != 0 {
		return said
	}
	const most = 5
	had := "no version of it"
	if versions := m.atHand(modulePath); len(versions) > 0 {
		had = strings.Join(versions[:min(most, len(versions))], ", ")
	}
	return k6x.AsError(said).WithHint("At hand: %s. What another machine has, k6x cache export and import bring.", had)
}

// atHand returns the versions of a module whose go.mod files are kept, newest first.
func (m *modules) atHand(modulePath string) []string {
	name, err := gomod.FileName(module.Version{Path: modulePath, Version: "v0.0.0"}, ".mod")
	if err != nil {
		return nil
	}
	files, _ := os.ReadDir(filepath.Join(m.cfg.Dir, "mod", filepath.Dir(name))) // there may be none
	var versions []string
	for _, file := range files {
		if version, err := module.UnescapeVersion(strings.TrimSuffix(file.Name(), ".mod")); err == nil && semver.IsValid(version) {
			versions = append(versions, version)
		}
	}
	gomod.SortVersions(versions)
	return versions
}

// What git and ssh say of a repository that is not open to all, or that they may not go to in this way.
var (
	forMembers = regexp.MustCompile(`could not read (Username|Password)|terminal prompts disabled|Authentication failed|Permission denied|` +
		`Access denied|Host key verification failed|returned error: 40[13]|40[13] (Unauthorized|Forbidden)`)
	notAllowed = regexp.MustCompile(`transport '([a-z+]{1,20})' not allowed`)
)

// unavailable says for users why a module, or one version of it, could not be had. What
// is definite stays so.
func unavailable(item string, err error) error {
	if useless, ok := errors.AsType[*gomod.Useless](err); ok {
		e := k6x.Errorf(k6x.NotFound, "%s %s", item, useless.Reason).WithCause(err)
		if useless.Declared != "" {
			e.Hint = fmt.Sprintf("Ask for %s, or build a fork in its place where you are: k6x build --replace %[1]s=%s.", useless.Declared, item)
		}
		return e
	}
	if cause, ok := errors.AsType[*k6x.Error](err); ok {
		return k6x.Errorf(cause.Kind, "%s cannot be fetched: %s", item, cause.Message).WithCause(err).WithRetry(cause.RetryAfter)
	}
	refused, ok := errors.AsType[*gomod.Refusal](err)
	switch {
	case errors.Is(err, gomod.ErrAbsent):
		return k6x.Errorf(k6x.NotFound, "the module proxy does not know %s", item).WithCause(err).
			WithHint("If it is on no module proxy, the operator has to name it, as with --direct 'git.example.com/*'.")
	case ok && refused.Status == 0:
		return k6x.Errorf(k6x.Unavailable, "%s is not at hand, and nothing is fetched: GOPROXY is off", item).WithCause(err).WithRetry(-1)
	case ok:
		return k6x.Errorf(k6x.Unavailable, "the module proxy refuses %s (%d)", item, refused.Status).WithCause(err)
	}
	if errors.Is(err, gomod.ErrDirect) {
		text := err.Error()
		if match := notAllowed.FindStringSubmatch(text); match != nil {
			return k6x.Errorf(k6x.Unavailable, "%s cannot be fetched: git is set up to use %s for it, which is not allowed here", item, match[1]).WithCause(err).
				WithHint("Allow it with GIT_ALLOW_PROTOCOL=https:%s, by --env of a service or --build-env of k6x.", match[1]).WithRetry(-1)
		}
		if forMembers.MatchString(text) {
			return k6x.Errorf(k6x.NotFound, "%s is not there, or only for those with credentials, which its host asks for", item).WithCause(err).
				WithHint("A service has those of --env NETRC=FILE, k6x --builder native those of your git and ssh.")
		}
	}
	return k6x.Errorf(k6x.Unavailable, "%s cannot be fetched at the moment", item).WithCause(err).WithRetry(retryAfter)
}

const retryAfter = 10 * time.Second

// loadFile reads a go.mod file from disk.
func (m *modules) loadFile(mod module.Version) (v value[*gomod.File], ok bool) {
	name, err := m.fileName(mod)
	var data []byte
	if err == nil {
		data, err = disk.ReadFile(name, gomod.MaxFile)
	}
	if err != nil {
		return v, false
	}
	if v.value, err = parseModFile(mod, data); err != nil {
		m.cfg.Logger.Warn("a go.mod file on disk is of no use", "module", mod.Path, "version", mod.Version)
	}
	return v, err == nil
}

// fetchFile returns the go.mod file of a module version. Errors are of kind [k6x.NotFound]
// if there is no such version or its go.mod file is of no use, and [k6x.Unavailable]
// otherwise; they satisfy [gomod.Definite] if asking again soon would not help.
func (m *modules) fetchFile(ctx context.Context, mod module.Version) (*gomod.File, error) {
	name, err := m.fileName(mod)
	if err != nil {
		return nil, unavailable(mod.String(), fmt.Errorf("%w: %w", gomod.ErrAbsent, err))
	}
	data, err := m.proxy.GoMod(ctx, mod)
	var file *gomod.File
	if err == nil {
		file, err = parseModFile(mod, data)
	}
	if err != nil {
		return nil, m.unavailable(mod.Path, mod.String(), err)
	}
	if err := keep(m.temp, name, data); err != nil {
		m.cfg.Logger.Warn("a go.mod file cannot be kept on disk", "module", mod.Path, "version", mod.Version, "error", err)
	}
	return file, nil
}

// file returns where the go.mod file of a module version is kept.
func (m *modules) fileName(mod module.Version) (string, error) {
	if err := module.Check(mod.Path, mod.Version); err != nil {
		return "", err
	}
	name, err := gomod.FileName(mod, ".mod")
	return filepath.Join(m.cfg.Dir, "mod", name), err
}

// parseModFile reads the go.mod file of a module version. Errors are of type [gomod.Useless].
func parseModFile(mod module.Version, data []byte) (*gomod.File, error) {
	file, err := gomod.Parse(data)
	if err != nil {
		return nil, &gomod.Useless{Reason: "has a go.mod file that is malformed: " + clip(k6x.Printable(err.Error()))}
	}
	if file.Path != mod.Path {
		return nil, gomod.OtherPath(file.Path, mod.Path)
	}
	for _, r := range file.Require {
		if module.CheckPath(r.Path) == nil && semver.IsValid(r.Version) {
			continue
		}
		useless := &gomod.Useless{Reason: "requires " + clip(k6x.Printable(r.String())) + ", which cannot be"}
		if by, ok := file.Replaces(r); ok {
			useless.Reason += ": " + gomod.Ignored(r, by)
		}
		return nil, useless
	}
	return file, nil
}

// needs is what a module version brings into the build list of a main module that
// requires it.
type needs struct {
	goLine string            // the newest go line among its modules
	lowest map[string]string // module path → the lowest version that will do
}

// k6 returns the module paths of k6 among those.
func (n *needs) k6() (paths []string) {
	for path := range n.lowest {
		if k6Major(path) != 0 {
			paths = append(paths, path)
		}
	}
	return paths
}

// needs returns what a module version needs, by the go command's rules for pruned
// module graphs (https://go.dev/ref/mod#graph-pruning). Errors are those of fetchFile. Nothing is followed any more when ctx ends.
func (m *modules) needs(ctx context.Context, mod module.Version) (*needs, error) {
	if n, ok := m.followed.Get(mod); ok {
		return n, nil
	}
	file, err := m.files.get(ctx, mod)
	if err != nil {
		return nil, err
	}
	load := gomod.Loader{Read: m.files.get, Limit: gomod.MaxFetched, AtOnce: fetchesAtOnce}
	graph, err := load.Load(ctx, []module.Version{mod})
	if errors.Is(err, gomod.ErrTooLarge) {
		err = unavailable(mod.String(), fmt.Errorf("%w: %w", gomod.ErrAbsent, err))
	}
	if gomod.Definite(err) {
		for _, r := range file.Require {
			by, ok := file.Replaces(r)
			if !ok {
				continue
			}
			if _, err := m.files.get(ctx, r); gomod.Definite(err) {
				return nil, k6x.Errorf(k6x.KindOf(err), "%s needs %s, which cannot be had: %s", mod, r, gomod.Ignored(r, by)).WithCause(err)
			}
		}
		return nil, k6x.Errorf(k6x.KindOf(err), "%s needs a module that cannot be had: %w", mod, err)
	}
	if err != nil {
		return nil, err
	}
	n := &needs{goLine: graph.Go, lowest: graph.Needed}
	m.followed.Add(mod, n)
	return n, nil
}

package resolver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/internal/gomod"
)

const (
	keptLists      = 2048             // version lists in memory
	maxVersionList = 16 << 20         // bytes of one on disk
	listPause      = 30 * time.Second // before a list that could not be renewed is asked for again
	listStale      = time.Hour        // how long an old list does while it is being renewed
	flightMax      = 6 * time.Minute  // for one fetch with all its hops
)

// versionLists knows which versions a module has. Lists are kept for a while in
// memory and on disk; while they are renewed, and when they cannot be, the old ones stay
// in use.
type versionLists struct {
	dir    string
	disk   disk
	maxAge time.Duration
	proxy  *gomod.Proxy
	log    *slog.Logger
	flight flight[[]string]
	kept   *lru.Cache[string, versionList]

	renewing sync.Map // module paths whose lists are renewed in the background
}

// versionList is one list, or the definite error that came instead of it.
type versionList struct {
	Module   string    `json:"module"`
	Versions []string  `json:"versions"` // newest first
	Fetched  time.Time `json:"fetched"`
	Status   int       `json:"status,omitempty"` // of HTTP, if that was the definite answer; 404: not there
	err      error     // what Status means
	renew    time.Time // when to ask again
}

func newVersionLists(dir string, d disk, maxAge time.Duration, p *gomod.Proxy, log *slog.Logger) *versionLists {
	kept, _ := lru.New[string, versionList](keptLists) // fails for a size below one only
	return &versionLists{dir: dir, disk: d, maxAge: maxAge, proxy: p, log: log, kept: kept, flight: flight[[]string]{most: flightMax}}
}

// get returns the tagged versions of a module, newest first. Errors are of kind
// [k6x.NotFound] if no proxy knows the module and [k6x.Unavailable] otherwise; they
// satisfy [gomod.Definite] if asking again soon would not help.
func (l *versionLists) get(ctx context.Context, modulePath string) ([]string, error) {
	if list, ok := l.kept.Get(modulePath); ok {
		now := time.Now()
		if now.Before(list.renew) {
			return list.Versions, list.err
		}
		if len(list.Versions) > 0 && list.err == nil && now.Before(list.renew.Add(listStale)) {
			l.refresh(ctx, modulePath)
			return list.Versions, nil
		}
	}
	return l.look(ctx, modulePath)
}

// refresh renews a list in the background, unless that is under way.
func (l *versionLists) refresh(ctx context.Context, modulePath string) {
	if _, busy := l.renewing.LoadOrStore(modulePath, true); busy {
		return
	}
	go func() {
		defer l.renewing.Delete(modulePath)
		_, _ = l.look(context.WithoutCancel(ctx), modulePath) // who fails has logged it
	}()
}

// renewed reports whether the list of a module was fetched since then; one that is due is
// asked for again.
func (l *versionLists) renewed(ctx context.Context, modulePath string, since time.Time) bool {
	list, ok := l.kept.Get(modulePath)
	if ok && !time.Now().Before(list.renew) {
		_, _ = l.look(ctx, modulePath) // who fails has logged it
		list, ok = l.kept.Get(modulePath)
	}
	return ok && !list.Fetched.Before(since)
}

// look returns a list that is not due, if it can be had.
func (l *versionLists) look(ctx context.Context, modulePath string) ([]string, error) {
	return l.flight.do(ctx, modulePath, func(ctx context.Context) ([]string, error) { return l.fetch(ctx, modulePath) })
}

func (l *versionLists) fetch(ctx context.Context, modulePath string) ([]string, error) {
	old, ok := l.kept.Get(modulePath)
	if !ok {
		old, ok = l.load(modulePath)
	}
	if ok && time.Now().Before(old.renew) {
		l.kept.Add(modulePath, old)
		return old.Versions, old.err
	}
	versions, err := l.proxy.Versions(ctx, modulePath)
	now := time.Now()
	if err != nil {
		err = unavailable(modulePath, err)
		if len(old.Versions) > 0 || ok && !gomod.Definite(err) {
			l.log.Warn("the versions of a module cannot be renewed; the old list stays in use",
				"module", modulePath, "since", old.Fetched, "cause", k6x.AsError(err).Err)
			old.renew = now.Add(min(l.maxAge, listPause))
			l.kept.Add(modulePath, old)
			return old.Versions, old.err
		}
		if !gomod.Definite(err) {
			return nil, err
		}
		l.log.Warn("a module has no list of versions", "module", modulePath, "cause", k6x.AsError(err).Err)
	}
	l.keep(versionList{Module: modulePath, Versions: versions, Fetched: now, Status: statusOf(err), err: err, renew: now.Add(l.maxAge)})
	return versions, err
}

func (l *versionLists) keep(list versionList) {
	l.kept.Add(list.Module, list)
	if list.err != nil && list.Status == 0 {
		return // a setting says so, and the next start may have another
	}
	if err := l.disk.writeJSON(l.file(list.Module), list); err != nil {
		l.log.Warn("a list of versions cannot be kept on disk", "module", list.Module, "error", err)
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

func (l *versionLists) file(modulePath string) string {
	hash := sha256.Sum256([]byte(modulePath))
	return filepath.Join(l.dir, hex.EncodeToString(hash[:])+".json")
}

// load reads a list from disk. What is not in order there counts as nothing.
func (l *versionLists) load(modulePath string) (versionList, bool) {
	data, err := gomod.ReadFile(l.file(modulePath), maxVersionList)
	if err != nil {
		return versionList{}, false
	}
	var list versionList
	if err := json.Unmarshal(data, &list); err != nil || list.Module != modulePath {
		l.log.Warn("a list of versions on disk is of no use", "module", modulePath, "error", err)
		_ = os.Remove(l.file(modulePath)) // it will be written anew
		return versionList{}, false
	}
	switch list.Versions = gomod.Tagged(modulePath, list.Versions); {
	case list.Status == http.StatusNotFound:
		list.Versions, list.err = nil, unavailable(modulePath, gomod.ErrAbsent)
	case list.Status != 0:
		list.Versions, list.err = nil, unavailable(modulePath, &gomod.Refusal{Status: list.Status})
	}
	if now := time.Now(); list.Fetched.After(now) {
		list.Fetched = now.Add(-l.maxAge)
	}
	list.renew = list.Fetched.Add(l.maxAge)
	return list, true
}

// unavailable says for users why a module, or one version of it, could not be had. What
// is definite stays so.
func unavailable(item string, err error) error {
	if cause, ok := errors.AsType[*k6x.Error](err); ok {
		e := k6x.Errorf(cause.Kind, "%s cannot be fetched: %s", item, cause.Message).WithCause(err)
		e.RetryAfter = cause.RetryAfter
		return e
	}
	refused, ok := errors.AsType[*gomod.Refusal](err)
	switch {
	case errors.Is(err, gomod.ErrAbsent):
		return k6x.Errorf(k6x.NotFound, "the module proxy does not know %s", item).WithCause(err).
			WithHint("If it is on no module proxy, the operator has to name it, as with --direct 'git.example.com/*'.")
	case ok && refused.Status == 0:
		return k6x.Errorf(k6x.Unavailable, "%s is not at hand, and this service fetches no modules (GOPROXY is off)", item).WithCause(err)
	case ok:
		return k6x.Errorf(k6x.Unavailable, "the module proxy refuses %s (%d)", item, refused.Status).WithCause(err)
	}
	e := k6x.Errorf(k6x.Unavailable, "%s cannot be fetched at the moment", item).WithCause(err)
	e.RetryAfter = retryAfter
	return e
}

const retryAfter = 10 * time.Second

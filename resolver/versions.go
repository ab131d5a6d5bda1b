package resolver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"k6x"
	"k6x/internal/disk"
	"k6x/internal/gomod"
)

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

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
		m.log.Warn("a module has no list of versions", "module", modulePath, "cause", k6x.AsError(v.err).Err)
		if list.Status == 0 || !m.registered(modulePath) {
			return // a setting says so, and the next start may have another; or there is no end of such modules
		}
	}
	if err := m.disk.writeJSON(m.versionsFile(modulePath), list); err != nil {
		m.log.Warn("a list of versions cannot be kept on disk", "module", modulePath, "error", err)
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
	return filepath.Join(m.dir, "versions", hex.EncodeToString(hash[:])+".json")
}

// loadVersions reads a list from disk. What is not in order there counts as nothing.
func (m *modules) loadVersions(modulePath string) (v value[[]string], ok bool) {
	data, err := disk.ReadFile(m.versionsFile(modulePath), maxVersionList)
	if err != nil {
		return v, false
	}
	var list versionList
	if err := json.Unmarshal(data, &list); err != nil || list.Module != modulePath {
		m.log.Warn("a list of versions on disk is of no use", "module", modulePath, "error", err)
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
		v.fetched = time.Now().Add(-m.maxAge)
	}
	v.due = v.fetched.Add(m.maxAge)
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
	files, _ := os.ReadDir(filepath.Join(m.dir, "mod", filepath.Dir(name))) // there may be none
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

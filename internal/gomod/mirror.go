package gomod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"k6x/internal/disk"
	"k6x/internal/web"
)

// Bounds on what a module proxy may send.
const (
	maxList   = 16 << 20 // bytes
	maxInfo   = 1 << 20
	proxyTime = 30 * time.Second // for one request
)

// mirror is a module proxy, which may be a directory (https://go.dev/ref/mod#goproxy-protocol).
type mirror struct {
	*Proxy
	base *url.URL
}

func (m *mirror) versions(ctx context.Context, modulePath string) ([]string, error) {
	data, err := m.get(ctx, modulePath, "@v/list", maxList)
	if err != nil {
		return nil, err
	}
	var versions []string
	var wrong error
	for line := range strings.SplitSeq(string(data), "\n") {
		if words := strings.Fields(line); len(words) == 0 {
			continue
		} else if semver.IsValid(words[0]) {
			versions = append(versions, words[0])
		} else {
			wrong = errors.New("the module proxy sends no list of versions")
		}
	}
	if len(versions) > 0 {
		wrong = nil // one odd line does no harm
	}
	return versions, wrong
}

func (m *mirror) goMod(ctx context.Context, modulePath, version string) ([]byte, error) {
	escaped, err := module.EscapeVersion(version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return m.get(ctx, modulePath, "@v/"+escaped+".mod", MaxFile)
}

func (m *mirror) commit(ctx context.Context, modulePath, hash string) (string, error) {
	data, err := m.get(ctx, modulePath, "@v/"+hash+".info", maxInfo)
	if err != nil {
		return "", err
	}
	var info struct{ Version string }
	if err := json.Unmarshal(data, &info); err != nil {
		return "", fmt.Errorf("the module proxy sends no JSON: %w", err)
	}
	return info.Version, nil
}

// get reads one file of a module.
func (m *mirror) get(ctx context.Context, modulePath, rest string, most int64) ([]byte, error) {
	escaped, err := module.EscapePath(modulePath)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	u := m.base.JoinPath(escaped, rest)
	if u.Scheme == "file" {
		return ReadFile(filePath(u), most)
	}
	ctx, cancel := context.WithTimeout(ctx, proxyTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, web.WithoutURL(err)
	}
	req.Header.Set("User-Agent", web.UserAgent)
	if u.Scheme == "https" && u.User == nil {
		if login, password, ok := m.netrc.lookup(u); ok {
			req.SetBasicAuth(login, password)
		}
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", web.Shown(u), web.WithoutURL(err))
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
	case status == http.StatusNotFound, status == http.StatusGone:
		return nil, fmt.Errorf("%s: %w", web.Shown(u), ErrAbsent)
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%s: the module proxy answers %d", web.Shown(u), status)
	case 400 <= status && status <= 499:
		return nil, fmt.Errorf("%s: %w", web.Shown(u), &Refusal{status})
	default:
		return nil, fmt.Errorf("%s: the module proxy answers %d", web.Shown(u), status)
	}
	data, err := disk.ReadAll(resp.Body, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", web.Shown(u), err)
	}
	return data, nil
}

// filePath returns the file that a file URL names.
func filePath(u *url.URL) string {
	name := u.Path
	if runtime.GOOS == "windows" && len(name) > 2 && name[2] == ':' {
		name = name[1:]
	}
	return filepath.FromSlash(name)
}

// ReadFile reads a file of at most most bytes; one that is not there is [ErrAbsent].
func ReadFile(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrAbsent)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return disk.ReadAll(file, most)
}

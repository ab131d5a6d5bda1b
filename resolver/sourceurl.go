package resolver

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"k6x"
	"k6x/internal/disk"
	"k6x/internal/gomod"
	"k6x/internal/web"
)

const (
	firstTry     = 5 * time.Second  // for a registry that there is no copy of when the program starts
	registryTime = 60 * time.Second // for one request of a registry
)

// registryCopy is a registry at a URL as it is kept on disk, with its validators.
type registryCopy struct {
	ETag         string          `json:"etag,omitempty"`
	LastModified string          `json:"last_modified,omitempty"`
	Body         json.RawMessage `json:"body"`
}

// remote is a registry at a URL. Its methods are not for use at once.
type remote struct {
	*Resolver
	url  string
	file string // of the copy; its time is when the registry was last known to be current
	kept registryCopy
}

// openURL makes a source of the copy on disk; if there is none, it tries for a few
// seconds to get one.
func (r *Resolver) openURL(ctx context.Context, location string) (*source, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return nil, k6x.Errorf(k6x.Invalid, "a registry's location is not a URL").WithCause(web.WithoutURL(err))
	}
	hash := sha256.Sum256([]byte(location))
	kept := &remote{Resolver: r, url: location, file: filepath.Join(r.cfg.Dir, "registry", hex.EncodeToString(hash[:])+".json")}
	s := &source{location: web.Shown(u), interval: r.cfg.Refresh, retry: min(r.cfg.Refresh, 30*time.Second), log: r.cfg.Logger, read: kept.read}
	if s.doc, s.since, err = kept.load(); err == nil {
		return s, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		r.cfg.Logger.Warn("the copy of a registry is of no use", "registry", s.location, "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, firstTry)
	defer cancel()
	_, _ = s.refresh(ctx) // an error is noted
	return s, nil
}

// load reads the copy on disk and returns when it was last known to be current.
func (r *remote) load() (doc *document, since time.Time, err error) {
	info, err := os.Stat(r.file)
	if err != nil {
		return nil, since, err
	}
	data, err := gomod.ReadFile(r.file, maxRegistry+1<<20)
	var kept registryCopy
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err == nil {
		doc, err = r.parse(kept.Body)
	}
	if err != nil {
		return nil, since, err
	}
	r.kept = kept
	return doc, info.ModTime(), nil
}

// read fetches the registry if it has changed since the copy was made.
func (r *remote) read(ctx context.Context) (*document, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, web.WithoutURL(err)
	}
	req.Header.Set("User-Agent", web.UserAgent)
	if r.kept.ETag != "" {
		req.Header.Set("If-None-Match", r.kept.ETag)
	}
	if r.kept.LastModified != "" {
		req.Header.Set("If-Modified-Since", r.kept.LastModified)
	}
	resp, err := r.cfg.Client.Do(req)
	if err != nil {
		return nil, web.WithoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && r.kept.Body != nil {
		now := time.Now()
		if err := os.Chtimes(r.file, now, now); err != nil {
			r.cfg.Logger.Warn("the time of a registry's copy cannot be set", "error", err)
		}
		return nil, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %d", resp.StatusCode)
	}
	body, err := disk.ReadAll(resp.Body, maxRegistry)
	if err != nil {
		return nil, err
	}
	doc, err := r.parse(body)
	if err != nil {
		return nil, err
	}
	r.kept = registryCopy{Body: body,
		ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	if err := keepJSON(r.mods.temp, r.file, r.kept); err != nil {
		r.cfg.Logger.Warn("a registry cannot be kept on disk", "error", err)
	}
	return doc, nil
}

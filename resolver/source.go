package resolver

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/internal/disk"
	"k6x/internal/gomod"
	"k6x/internal/web"
)

// SourceStatus is how one registry is, for people: it holds no secrets.
type SourceStatus struct {
	Location string    `json:"location"`
	Loaded   bool      `json:"loaded"`          // there is something to work with
	Stale    bool      `json:"stale"`           // it could not be read the last time, so an older copy is in use, if any
	Since    time.Time `json:"since,omitzero"`  // when it was last known to be current; zero if never
	Error    string    `json:"error,omitempty"` // of the last try; empty if it went well
}

// source is one registry and the document that it had when it could last be read.
type source struct {
	location string        // fit to be shown
	explicit bool          // configured, not the default
	interval time.Duration // between two reads
	retry    time.Duration // the same after a failure
	log      *slog.Logger
	// read returns the document, or nil if it is still the one that was read before; it
	// is nil for what cannot change. Only one call is under way at a time.
	read    func(ctx context.Context) (*document, error)
	reading sync.Mutex // held while read is called

	mu sync.Mutex // guards what follows
	state
}

// state is how a source was when it was last read.
type state struct {
	doc   *document // nil: nothing is known of it yet
	since time.Time
	err   error // of the last try
}

// openSource loads the registry at a location. A file has to be readable; a URL may
// have a copy on disk, or nothing yet.
func (r *Resolver) openSource(ctx context.Context, location string) (*source, error) {
	switch {
	case location == Embedded:
		return embeddedSource(true, r.cfg.Logger)
	case strings.HasPrefix(location, "https://"), strings.HasPrefix(location, "http://"):
		return r.openURL(ctx, location)
	}
	interval := min(r.cfg.Refresh, 5*time.Second)
	s := &source{location: location, interval: interval, retry: interval, log: r.cfg.Logger, read: r.fileReader(location)}
	if _, err := s.refresh(ctx); err != nil {
		e := k6x.Errorf(k6x.Invalid, "the registry %s cannot be used: %w", location, err)
		if cause, ok := errors.AsType[*k6x.Error](err); ok {
			e = e.WithHint("%s", cause.Hint)
		}
		return nil, e
	}
	return s, nil
}

// fileReader returns a read function for a file, which is read again when its time
// or size has changed.
func (r *Resolver) fileReader(name string) func(context.Context) (*document, error) {
	var last os.FileInfo
	return func(context.Context) (*document, error) {
		info, err := os.Stat(name) // before it is opened: opening a pipe waits
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		if last != nil && last.ModTime().Equal(info.ModTime()) && last.Size() == info.Size() {
			return nil, nil
		}
		data, err := gomod.ReadFile(name, maxRegistry)
		if err != nil {
			return nil, err
		}
		doc, err := r.parse(data)
		if err == nil {
			last = info
		}
		return doc, err
	}
}

// refresh reads the source and reports whether its document changed. On an error
// the document stays. Each change between good and bad is logged once.
func (s *source) refresh(ctx context.Context) (changed bool, err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	doc, err := s.read(ctx)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.err == nil:
		s.log.Warn("a registry cannot be read; what was there before stays in use",
			"registry", s.location, "loaded", s.doc != nil, "error", err)
	case err == nil && s.err != nil:
		s.log.Info("a registry can be read again", "registry", s.location)
	}
	s.err = err
	if err != nil {
		return false, err
	}
	s.since = time.Now()
	if doc == nil {
		return false, nil
	}
	s.doc = doc
	return true, nil
}

// firstWait is no time at all for a copy that was not looked after since the program
// started, and not for ever if the copy says that it is from the future.
func (s *source) firstWait() time.Duration {
	now := s.now()
	if now.err != nil {
		return s.retry
	}
	return min(s.interval, max(0, s.interval-time.Since(now.since)))
}

// old reports whether it is time to read the source again; a copy from the future is old, too.
func (s *source) old() bool {
	now := s.now()
	age := time.Since(now.since)
	return now.err == nil && (age < 0 || age >= s.interval)
}

func (s *source) now() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Embedded is the location of the registry that is part of this program. It knows k6
// and Grafana's extensions, without versions.
const Embedded = "embedded"

//go:embed embedded.json
var embeddedRegistry []byte

// embeddedSource returns the embedded registry: the whole of it, or k6 only.
func embeddedSource(whole bool, log *slog.Logger) (*source, error) {
	doc, err := parseRegistry(embeddedRegistry, log)
	if err != nil {
		return nil, err
	}
	if !whole {
		doc = newDocument(slices.DeleteFunc(doc.entries, func(e *entry) bool { return !e.isK6() }))
	}
	return &source{location: Embedded, state: state{doc: doc}}, nil
}

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

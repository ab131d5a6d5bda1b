package resolver

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/internal/gomod"
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

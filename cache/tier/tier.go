// Package tier puts a store on the local disk in front of a remote store that services
// share. The local one has only what the remote one has, so that what it answers is final, and
// a hit costs nothing but an open file. What is only remote is downloaded once, however
// many ask, and read as it arrives; it is verified, and then served from the disk. A download begins when the first byte is wanted.
package tier

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"k6x"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/internal/disk"
)

// Remote is the store behind; *bucket.Store is one.
type Remote interface {
	cache.Store

	// Import stores an artifact whose record and bytes are known. It returns the record of
	// what is there from now on, which is another one if that was first, and what its path is bound to if it is to be bound.
	Import(ctx context.Context, artifact k6x.Artifact, bind bool, body io.ReaderAt) (first k6x.Artifact, bound string, err error)

	// SignedURL returns a URL that gives the bytes under key to anyone for a while; if there are none it is an errors.ErrUnsupported.
	SignedURL(ctx context.Context, key string) (string, error)
}

// Store is a [cache.Limited], by the limit of the local store.
type Store struct {
	local  *dir.Store
	remote Remote
	logger *slog.Logger

	// Bindings never change, so those of the remote store are good for ever. The local store cannot keep one before it has the artifact.
	paths *lru.Cache[string, string] // path to key

	lookups singleflight.Group // by path

	mu       sync.Mutex          // guards what follows, and what arrivals say it does
	arrivals map[string]*arrival // by key
	uploads  map[string]*pending // by key
}

var _ cache.Limited = (*Store)(nil)

// New returns local in front of remote. Local has to be used with this remote store only, now and
// earlier. Logger nil: discard.
func New(local *dir.Store, remote Remote, logger *slog.Logger) *Store {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{local: local, remote: remote, logger: logger, arrivals: map[string]*arrival{}, uploads: map[string]*pending{}}
	s.paths, _ = lru.New[string, string](16384) // fails for a size below 1 only
	s.recall(context.Background())
	return s
}

// missing reports whether a store says that it does not have something.
func missing(err error) bool {
	return errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrEvicted)
}

// Lookup implements [cache.Store].
func (s *Store) Lookup(ctx context.Context, path string) (string, error) {
	key, err := s.lookup(ctx, path)
	if !missing(err) {
		return key, err
	}
	// A caller that leaves, as one that is sent round does, ends nothing: it comes back.
	found := s.lookups.DoChan(path, func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		key, err := s.remote.Lookup(ctx, path)
		if err == nil {
			s.bound(ctx, path, key)
		}
		return key, err
	})
	select {
	case result := <-found:
		return result.Val.(string), result.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// lookup is Lookup without asking the remote store.
func (s *Store) lookup(ctx context.Context, path string) (string, error) {
	key, err := s.local.Lookup(ctx, path)
	if missing(err) {
		if key, ok := s.paths.Get(path); ok {
			return key, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for key, p := range s.uploads {
			if p.path == path {
				return key, nil
			}
		}
	}
	return key, err
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, path, key string) (string, error) {
	if bound, err := s.lookup(ctx, path); !missing(err) && k6x.CheckKey(key) == nil {
		return bound, err
	}
	bound, err := s.remote.Bind(ctx, path, key)
	if err == nil {
		s.bound(ctx, path, bound)
	}
	return bound, err
}

// bound notes locally what path is bound to.
func (s *Store) bound(ctx context.Context, path, key string) {
	s.paths.Add(path, key)
	if _, err := s.local.Bind(ctx, path, key); err != nil && !errors.Is(err, cache.ErrNotFound) {
		s.logger.Warn("binding cannot be kept on the local disk", "path", path, "error", err)
	}
}

// Verify implements [cache.Store]: what comes from the remote store is compared when it arrives.
func (s *Store) Verify(ctx context.Context, key string) error {
	err := s.local.Verify(ctx, key)
	if !missing(err) {
		return err
	}
	entry, err := s.open(ctx, key)
	if err != nil {
		return err
	}
	defer entry.Close()
	_, err = io.Copy(io.Discard, disk.Until(ctx, entry.Body))
	return err
}

// Record implements [cache.Store].
func (s *Store) Record(ctx context.Context, key string) (k6x.Artifact, error) {
	artifact, err := s.local.Record(ctx, key)
	if missing(err) {
		return s.remote.Record(ctx, key)
	}
	return artifact, err
}

// Open implements [cache.Store]. The body of the entry is an *os.File, or reads what arrives.
func (s *Store) Open(ctx context.Context, key string) (*cache.Entry, error) {
	entry, err := s.local.Open(ctx, key)
	if missing(err) {
		return s.open(ctx, key)
	}
	if err == nil {
		entry.Provisional = s.waits(key) != nil
	}
	return entry, err
}

// Put implements [cache.Store]. The remote store has it first, so that whatever happens in
// between, the local one has nothing that the others do not have, but for what could not be uploaded yet.
func (s *Store) Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error), options ...cache.PutOption) (k6x.Artifact, error) {
	key, bind := recipe.Key(), !slices.Contains(options, cache.Unbound)
	if err := ctx.Err(); err != nil {
		return k6x.Artifact{}, err
	}
	if !slices.Contains(options, cache.Looked) {
		first, err := s.Whole(ctx, key)
		if err == nil && bind {
			_, err = s.Bind(ctx, first.Path, key)
		}
		if !missing(err) {
			return first, err
		}
	}
	var bound string
	first, err := s.local.PutAfter(ctx, recipe, false, fill, func(artifact k6x.Artifact, body io.ReaderAt) (first k6x.Artifact, later bool, err error) {
		first, bound, err = s.remote.Import(ctx, artifact, bind, body)
		return first, err != nil && s.later(ctx, artifact, bind, err), err
	})
	if err == nil && bound != "" {
		s.bound(ctx, first.Path, bound)
	}
	return first, err
}

// Whole implements [cache.Store]. Nothing is brought here.
func (s *Store) Whole(ctx context.Context, key string) (k6x.Artifact, error) {
	artifact, err := s.local.Whole(ctx, key)
	if missing(err) {
		return s.remote.Whole(ctx, key)
	}
	return artifact, err
}

// SignedURL returns a URL from which anyone can download the bytes under key for a while,
// without this service. If the remote store has none it is an errors.ErrUnsupported.
func (s *Store) SignedURL(ctx context.Context, key string) (string, error) {
	return s.remote.SignedURL(ctx, key)
}

// Pin implements [cache.Limited], for the local store.
func (s *Store) Pin(key string) (unpin func()) { return s.local.Pin(key) }

// Describe implements [cache.Limited], for the local store.
func (s *Store) Describe(ctx context.Context, key string) *cache.Entry {
	entry := s.local.Describe(ctx, key)
	if entry != nil {
		entry.Provisional = s.waits(key) != nil
	}
	return entry
}

// MakeRoom implements [cache.Limited], for the local store.
func (s *Store) MakeRoom(ctx context.Context, full error) bool { return s.local.MakeRoom(ctx, full) }

// Stats implements [cache.Limited], for the local store.
func (s *Store) Stats() cache.Stats { return s.local.Stats() }

// Scrub checks the local store.
func (s *Store) Scrub(ctx context.Context) (bucket.ScrubReport, error) { return s.local.Scrub(ctx) }

// Package tier puts a store on the local disk in front of a store that is far away and
// shared. The near one has only what the far one has, so that what it answers is final, and
// a hit costs nothing but an open file. What is only far is downloaded once, however
// many ask, is verified, and is then served from the disk.
package tier

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/cache"
	"k6x/cache/dir"
	"k6x/cache/internal/record"
)

// Far is the store behind; *bucket.Store is one.
type Far interface {
	cache.Store

	// Import stores an artifact whose record and bytes are known. It returns the record of
	// what is there from now on, which is another one if that was first, and what its path is bound to if it is to be bound.
	Import(ctx context.Context, artifact k6x.Artifact, bind bool, body io.ReaderAt) (first k6x.Artifact, bound string, err error)
}

// Config has what a [Store] may have besides two stores; the zero value is ready.
type Config struct {
	Size   int64        // the largest binary, in bytes; 0 means no limit
	Temp   string       // directory for binaries between build and stores; "" is that of the system
	Logger *slog.Logger // nil discards
}

// Store is a [cache.Limited], by the limit of the near store.
type Store struct {
	near *dir.Store
	far  Far
	cfg  Config

	// Bindings never change, so those of the far store are good for ever. Pending has those
	// that the near store cannot keep before it has the artifact.
	paths   *lru.Cache[string, string] // path to key
	pending *lru.Cache[string, string] // key to path

	mu      sync.Mutex // guards what follows
	flights map[string]*flight
}

var _ cache.Limited = (*Store)(nil)

// New returns near in front of far. Near has to be used with this far store only, now and
// earlier.
func New(near *dir.Store, far Far, cfg Config) *Store {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{near: near, far: far, cfg: cfg, flights: map[string]*flight{}}
	s.paths, _ = lru.New[string, string](16384) // fails for a size below 1 only
	s.pending, _ = lru.New[string, string](4096)
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
	if key, err = s.far.Lookup(ctx, path); err != nil {
		return "", err
	}
	s.bound(ctx, path, key)
	return key, nil
}

// lookup is Lookup without asking the far store.
func (s *Store) lookup(ctx context.Context, path string) (string, error) {
	key, err := s.near.Lookup(ctx, path)
	if missing(err) {
		if key, ok := s.paths.Get(path); ok {
			return key, nil
		}
	}
	return key, err
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, path, key string) (string, error) {
	if bound, err := s.lookup(ctx, path); !missing(err) && k6x.CheckKey(key) == nil {
		return bound, err
	}
	bound, err := s.far.Bind(ctx, path, key)
	if err == nil {
		s.bound(ctx, path, bound)
	}
	return bound, err
}

// bound notes near what path is bound to.
func (s *Store) bound(ctx context.Context, path, key string) {
	s.paths.Add(path, key)
	if _, err := s.near.Bind(ctx, path, key); errors.Is(err, cache.ErrNotFound) {
		s.pending.Add(key, path)
	} else if err != nil {
		s.cfg.Logger.Warn("binding cannot be kept on the local disk", "path", path, "error", err)
	}
}

// Record implements [cache.Store].
func (s *Store) Record(ctx context.Context, key string) (k6x.Artifact, error) {
	artifact, err := s.near.Record(ctx, key)
	if missing(err) {
		return s.far.Record(ctx, key)
	}
	return artifact, err
}

// Open implements [cache.Store]. The body of the entry is an *os.File.
func (s *Store) Open(ctx context.Context, key string) (*cache.Entry, error) {
	// What was downloaded just now may be evicted before it is opened, when the disk is
	// small and busy: then one more download is due.
	for try := 0; ; try++ {
		entry, err := s.near.Open(ctx, key)
		if !missing(err) || try == 2 {
			return entry, err
		}
		if err := s.fetch(ctx, key); err != nil {
			return nil, err
		}
	}
}

// Put implements [cache.Store]. The far store has it first, so that whatever happens in
// between, the near one has nothing that the others do not have.
func (s *Store) Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error), options ...cache.PutOption) (k6x.Artifact, error) {
	key, bind := recipe.Key(), !slices.Contains(options, cache.Unbound)
	if !slices.Contains(options, cache.Looked) {
		first, err := s.whole(ctx, key)
		if err == nil && bind {
			_, err = s.Bind(ctx, first.Path, key)
		}
		if !missing(err) {
			return first, err
		}
	}
	got, err := record.Spool(ctx, s.cfg.Temp, s.cfg.Size, fill)
	if err != nil {
		return k6x.Artifact{}, err
	}
	defer got.Close()
	artifact, bound, err := s.far.Import(ctx, k6x.Artifact{Recipe: recipe, Path: recipe.Path(), Digest: got.Digest, Size: got.Size,
		Stored: time.Now().UTC().Truncate(time.Second), Build: got.Build}, bind, got.File)
	if err != nil {
		return k6x.Artifact{}, err
	}
	if artifact.Digest == got.Digest { // else the one that was first is downloaded when it is asked for
		s.keep(context.WithoutCancel(ctx), artifact, got)
	}
	if bind {
		s.bound(ctx, artifact.Path, bound)
	}
	return artifact, nil
}

// whole returns the record of key if its bytes are there too.
func (s *Store) whole(ctx context.Context, key string) (k6x.Artifact, error) {
	entry, err := s.Open(ctx, key)
	if err != nil {
		return k6x.Artifact{}, err
	}
	defer entry.Close()
	return s.Record(ctx, key)
}

// keep stores near what is safe in the far store.
func (s *Store) keep(ctx context.Context, artifact k6x.Artifact, got *record.Spooled) {
	_, err := got.File.Seek(0, io.SeekStart)
	if err == nil {
		_, err = s.near.Import(ctx, artifact, func(w io.Writer) error {
			_, err := io.Copy(w, got.File)
			return err
		})
	}
	if err != nil {
		s.cfg.Logger.Warn("binary is stored, but cannot be kept on the local disk", "path", artifact.Path, "error", err)
	}
}

// SignedURL returns a URL from which anyone can download the bytes under key for a while,
// without this service. If the far store has none it is an errors.ErrUnsupported.
func (s *Store) SignedURL(ctx context.Context, key string) (string, error) {
	signer, ok := s.far.(interface {
		SignedURL(ctx context.Context, key string) (string, error)
	})
	if !ok {
		return "", errors.ErrUnsupported
	}
	return signer.SignedURL(ctx, key)
}

// Pin implements [cache.Limited], for the near store.
func (s *Store) Pin(key string) (unpin func()) { return s.near.Pin(key) }

// Stats implements [cache.Limited], for the near store.
func (s *Store) Stats() cache.Stats { return s.near.Stats() }

// Scrub checks the near store.
func (s *Store) Scrub(ctx context.Context) (dir.ScrubReport, error) { return s.near.Scrub(ctx) }

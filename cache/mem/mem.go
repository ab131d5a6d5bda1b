// Package mem keeps artifacts in memory: for a service without a disk, and as the
// simplest thing that keeps the contract of a store.
package mem

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/internal/ledger"
	"k6x/cache/internal/record"
)

// Config bounds a store.
type Config struct {
	Size  int64            // limit for binaries and records, in bytes; 0 means none
	Clock func() time.Time // nil means time.Now
}

// Store is a [cache.Limited] in memory. What is being written counts only once it is
// whole, and an entry that is open keeps its bytes.
type Store struct {
	cfg Config

	mu        sync.Mutex // guards what follows
	ledger    *ledger.Ledger
	artifacts map[string]*artifact
	paths     map[string]string // to keys that have an artifact
	evictions int64
	forgotten int64
}

// artifact is never changed once it is in the map, but replaced.
type artifact struct {
	record []byte // encoded, so that callers share nothing
	info   k6x.Artifact
	binary []byte // nil if it was evicted
}

var _ cache.Limited = (*Store)(nil)

// New returns an empty store.
func New(cfg Config) *Store {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Store{cfg: cfg, ledger: ledger.New(cfg.Size), artifacts: map[string]*artifact{}, paths: map[string]string{}}
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return k6x.CheckKey(key)
}

// Lookup implements [cache.Store].
func (s *Store) Lookup(ctx context.Context, path string) (string, error) {
	if err := cache.CheckPath(path); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key, ok := s.paths[path]; ok {
		return key, nil
	}
	return "", cache.ErrNotFound
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, path, key string) (string, error) {
	if err := cache.CheckPath(path); err != nil {
		return "", err
	}
	if err := check(ctx, key); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if bound, ok := s.paths[path]; ok {
		return bound, nil
	}
	if _, ok := s.artifacts[key]; !ok {
		return "", cache.ErrNotFound
	}
	s.paths[path] = key
	return key, nil
}

// Open implements [cache.Store].
func (s *Store) Open(ctx context.Context, key string) (*cache.Entry, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.artifacts[key]
	switch {
	case !ok:
		return nil, cache.ErrNotFound
	case a.binary == nil:
		return nil, cache.ErrEvicted
	}
	s.ledger.Use(key, s.cfg.Clock())
	s.ledger.Hold(key)
	return &cache.Entry{
		Key: key, Digest: a.info.Digest, Size: a.info.Size, Stored: a.info.Stored, Platform: a.info.Recipe.Platform,
		Body: bytes.NewReader(a.binary), Release: func() { s.release(key) },
	}, nil
}

func (s *Store) release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.Release(key)
}

// Record implements [cache.Store].
func (s *Store) Record(ctx context.Context, key string) (k6x.Artifact, error) {
	if err := check(ctx, key); err != nil {
		return k6x.Artifact{}, err
	}
	s.mu.Lock()
	a, ok := s.artifacts[key]
	s.mu.Unlock()
	if !ok {
		return k6x.Artifact{}, cache.ErrNotFound
	}
	return record.Decode(a.record)
}

// Put implements [cache.Store].
func (s *Store) Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error), options ...cache.PutOption) (k6x.Artifact, error) {
	key, bind := recipe.Key(), !slices.Contains(options, cache.Unbound)
	entry, err := s.Open(ctx, key)
	if err == nil {
		defer entry.Close()
		if bind {
			if _, err := s.Bind(ctx, recipe.Path(), key); err != nil {
				return k6x.Artifact{}, err
			}
		}
		return s.Record(ctx, key)
	}
	if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
		return k6x.Artifact{}, err
	}
	var binary bytes.Buffer
	got, err := record.Receive(ctx, &binary, s.cfg.Size, fill)
	if err != nil {
		return k6x.Artifact{}, err
	}
	encoded, info, err := record.Encode(k6x.Artifact{Recipe: recipe, Path: recipe.Path(), Digest: got.Digest,
		Size: got.Size, Stored: s.cfg.Clock().UTC().Truncate(time.Second), Build: got.Build})
	if err != nil {
		return k6x.Artifact{}, k6x.Errorf(k6x.Internal, "the binary could not be stored").WithCause(err)
	}
	first, err := s.commit(key, &artifact{record: encoded, info: info, binary: binary.Bytes()})
	if err == nil && bind {
		_, err = s.Bind(ctx, recipe.Path(), key)
	}
	return first, err
}

// commit enters an artifact, unless one is there: then that one stays.
func (s *Store) commit(key string, a *artifact) (k6x.Artifact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.artifacts[key]; ok {
		if first.binary == nil && first.info.Digest != a.info.Digest {
			return k6x.Artifact{}, k6x.Errorf(k6x.Internal, "building %s again did not give the bytes that it had before", first.info.Path)
		}
		if first.binary != nil {
			return record.Decode(first.record)
		}
		a = &artifact{record: first.record, info: first.info, binary: a.binary}
	}
	item := ledger.Item{Record: int64(len(a.record)), Binary: a.info.Size, Used: s.cfg.Clock()}
	plan, ok := s.ledger.Plan(key, item.Record, item.Binary)
	if !ok {
		return k6x.Artifact{}, record.NoRoom()
	}
	s.remove(plan)
	s.ledger.Set(key, item)
	s.artifacts[key] = a
	return record.Decode(a.record)
}

func (s *Store) remove(plan ledger.Plan) {
	for _, key := range plan.Evict {
		old := s.artifacts[key]
		s.artifacts[key] = &artifact{record: old.record, info: old.info}
		item, _ := s.ledger.Get(key)
		item.Binary = 0
		s.ledger.Set(key, item)
		s.evictions++
	}
	for _, forgotten := range plan.Forget {
		delete(s.artifacts, forgotten)
		maps.DeleteFunc(s.paths, func(_, key string) bool { return key == forgotten })
		s.ledger.Drop(forgotten)
		s.forgotten++
	}
}

// Pin implements [cache.Limited].
func (s *Store) Pin(key string) (unpin func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.Hold(key)
	return sync.OnceFunc(func() { s.release(key) })
}

// Stats implements [cache.Limited].
func (s *Store) Stats() cache.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := cache.Stats{Limit: s.cfg.Size, Evictions: s.evictions, Forgotten: s.forgotten}
	stats.Artifacts, stats.Evicted, stats.Bytes = s.ledger.Totals()
	return stats
}

// Package dir keeps artifacts in a directory, which several processes may share.
//
//	artifacts/<key[:2]>/<key>/binary         the bytes; missing if they were evicted
//	artifacts/<key[:2]>/<key>/artifact.json  the record
//	paths/<hash[:2]>/<hash>                  {path, key}; hash is the SHA-256 of the path
//	tmp/<random>/                            what one process is working on; lock is held by it
//	lock                                     held while anything of the above is changed
//
// An artifact is made below tmp and comes to its place by one rename of its
// directory, so that it is there as a whole or not at all, whenever the process is
// killed. What dead processes left below tmp is removed by the next [Open].
//
// The modification time of a binary is the time of its last use, to the minute.
package dir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/cache"
	"k6x/cache/internal/ledger"
	"k6x/internal/disk"
)

// Config says where a store is and how large it may become.
type Config struct {
	Dir    string           // made if it does not exist
	Size   int64            // limit for binaries and records, in bytes; 0 means none
	Logger *slog.Logger     // nil discards
	Clock  func() time.Time // nil means time.Now
}

// How much of what was read is remembered, so that a hit opens one file and parses nothing.
const (
	hotArtifacts = 4096
	hotPaths     = 16384
)

// Store is a [cache.Limited] in a directory.
type Store struct {
	dir    string
	size   int64
	logger *slog.Logger
	clock  func() time.Time
	fs     disk.FS

	tmp   string       // the directory below tmp that is ours
	alive *flock.Flock // held on tmp/lock for as long as the store is open
	temps atomic.Int64 // names used below tmp

	// change is held together with lock by a process that changes what is below artifacts
	// or paths. It is taken before mu.
	change sync.Mutex
	lock   *flock.Flock
	shards map[string]time.Time // by change: modification time of each directory below artifacts when it was last read

	mu        sync.Mutex // guards what follows, and is held while a file that may be in use is moved away
	ledger    *ledger.Ledger
	evictions int64
	forgotten int64

	hot   *lru.Cache[string, *info]  // by key
	paths *lru.Cache[string, string] // path to key
}

var _ cache.Limited = (*Store)(nil)

// Open opens the store in a directory, removes what killed processes left there, and
// takes stock of what is there.
func Open(cfg Config) (*Store, error) { return open(cfg, disk.FS{}) }

func open(cfg Config, fs disk.FS) (*Store, error) {
	if cfg.Dir == "" || cfg.Size < 0 {
		return nil, errors.New("a store needs a directory and a limit that is not negative")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, size: cfg.Size, logger: cfg.Logger, clock: cfg.Clock, fs: fs,
		lock:   flock.New(filepath.Join(dir, "lock")),
		shards: map[string]time.Time{},
		ledger: ledger.New(cfg.Size),
	}
	s.hot, _ = lru.New[string, *info](hotArtifacts) // fails for a size below 1 only
	s.paths, _ = lru.New[string, string](hotPaths)
	for _, sub := range []string{"artifacts", "paths", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make the directory of the store: %w", disk.Explain(err))
		}
	}
	if err := s.exclusive(s.start); err != nil {
		s.Close()
		return nil, fmt.Errorf("open the store in %s: %w", cfg.Dir, err)
	}
	return s, nil
}

// start sweeps, makes a directory below tmp, and takes stock.
func (s *Store) start() error {
	if err := s.sweep(); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "")
	if err != nil {
		return disk.Explain(err)
	}
	s.tmp, s.alive = tmp, flock.New(filepath.Join(tmp, "lock"))
	if err := s.alive.Lock(); err != nil {
		return fmt.Errorf("lock a directory for temporary files: %w", err)
	}
	return s.refresh()
}

// sweep removes the temporary directories of processes that live no more. No process can
// be between making and locking its own, as that is done under the lock of the store.
func (s *Store) sweep() error {
	tmp := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := filepath.Join(tmp, entry.Name())
		if entry.IsDir() {
			owner := flock.New(filepath.Join(name, "lock"))
			dead, err := owner.TryLock()
			if !dead {
				if err != nil {
					s.logger.Warn("temporary directory cannot be locked", "dir", name, "error", err)
				}
				continue
			}
			owner.Close()
		}
		if err := os.RemoveAll(name); err != nil {
			s.logger.Warn("leftover cannot be removed", "name", name, "error", err)
			continue
		}
		s.logger.Info("leftover of a killed process removed", "name", name)
	}
	return nil
}

// Close removes the temporary files of the store. Entries that are open stay readable;
// everything that writes fails from then on.
func (s *Store) Close() error {
	if s.tmp == "" {
		return nil
	}
	s.change.Lock()
	defer s.change.Unlock()
	// Closed before it is removed: where open files cannot be removed, an early sweep does no harm.
	return errors.Join(s.alive.Close(), os.RemoveAll(s.tmp))
}

// exclusive runs change while no other goroutine or process changes the store.
func (s *Store) exclusive(change func() error) error {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.lock.Lock(); err != nil {
		return fmt.Errorf("lock the store: %w", disk.Explain(err))
	}
	defer s.lock.Unlock()
	return change()
}

// Stats implements [cache.Limited].
func (s *Store) Stats() cache.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := cache.Stats{Limit: s.size, Evictions: s.evictions, Forgotten: s.forgotten}
	stats.Artifacts, stats.Evicted, stats.Bytes = s.ledger.Totals()
	return stats
}

// Pin implements [cache.Limited].
func (s *Store) Pin(key string) (unpin func()) { return sync.OnceFunc(s.hold(key)) }

// hold keeps key from being evicted until release is called, once.
func (s *Store) hold(key string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.Hold(key)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ledger.Release(key)
	}
}

// check is the door of every method that takes a key.
func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return k6x.CheckKey(key)
}

// fault gives an error that has no words for the user yet such words. It lets the errors
// of a [cache.Store] and those of a context through.
func fault(message string, err error) error {
	for _, known := range []error{nil, cache.ErrNotFound, cache.ErrEvicted, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return err
		}
	}
	if _, ok := errors.AsType[*k6x.Error](err); ok {
		return err
	}
	return k6x.Errorf(k6x.Internal, "%s", message).WithCause(err)
}

func (s *Store) shard(key string) string { return filepath.Join(s.dir, "artifacts", key[:2]) }
func (s *Store) home(key string) string  { return filepath.Join(s.dir, "artifacts", key[:2], key) }
func (s *Store) binary(key string) string {
	return filepath.Join(s.dir, "artifacts", key[:2], key, "binary")
}
func (s *Store) record(key string) string { return filepath.Join(s.home(key), "artifact.json") }

// temp returns a new name below the temporary directory of the store.
func (s *Store) temp() string {
	return filepath.Join(s.tmp, strconv.FormatInt(s.temps.Add(1), 10))
}

func (s *Store) binding(path string) string {
	sum := sha256.Sum256([]byte(path))
	hash := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, "paths", hash[:2], hash)
}

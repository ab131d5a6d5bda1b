package bucket

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/internal/ledger"
	"k6x/cache/internal/reading"
	"k6x/internal/disk"
)

// account is what a store knows of its [Place].
type account struct {
	place  Place
	change sync.Mutex // held with the lock of the place; taken before mu

	mu        sync.Mutex // guards what follows, and is held while a blob that may be in use is removed
	ledger    *ledger.Ledger
	evictions int64
	forgotten int64
	opened    map[string]*opened // by key
	unlinked  int64              // bytes of binaries that were removed while they were open
	full      string             // why the last write failed, if the disk was full; else ""

	verified map[string]blob.Version // by key: the binary that was last found to have the digest of its record

	hot   *lru.Cache[string, *info]  // by key
	paths *lru.Cache[string, string] // path to key

	readings reading.Group // of binaries, by key

	aliases atomic.Int64 // that were bound since they were last bounded
}

// How much of what was read is remembered, so that a hit opens one file and parses nothing.
const (
	hotArtifacts = 4096
	hotPaths     = 16384
)

// info is what a hit needs of a record.
type info struct {
	entry   cache.Entry  // without a body
	version blob.Version // of the binary that the record was read for
	touched atomic.Int64 // Unix time of the last Touch
}

// NewIn returns the store in a place, which it keeps within the Size of cfg: it takes stock of what is there.
func NewIn(ctx context.Context, place Place, cfg Config) (*Store, error) {
	s := New(place, cfg)
	s.own = &account{place: place, ledger: ledger.New(cfg.Size), opened: map[string]*opened{}, verified: map[string]blob.Version{}}
	s.own.ledger.Last = func(key string) bool { return s.own.opened[key] != nil }
	s.own.hot, _ = lru.New[string, *info](hotArtifacts) // fails for a size below 1 only
	s.own.paths, _ = lru.New[string, string](hotPaths)
	return s, s.exclusive(func() error { return s.refresh(ctx) })
}

// exclusive runs change while no other goroutine or process changes the place.
func (s *Store) exclusive(change func() error) error {
	s.own.change.Lock()
	defer s.own.change.Unlock()
	unlock, err := s.own.place.Lock()
	if err != nil {
		return fmt.Errorf("lock the store: %w", disk.FS{Of: "the store"}.Explain(err))
	}
	defer unlock()
	return change()
}

// Pin implements [cache.Limited].
func (s *Store) Pin(key string) (unpin func()) { return sync.OnceFunc(s.hold(key)) }

// hold keeps key from being evicted until release is called, once.
func (s *Store) hold(key string) (release func()) {
	if s.own == nil {
		return func() {}
	}
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	s.own.ledger.Hold(key)
	return func() {
		s.own.mu.Lock()
		defer s.own.mu.Unlock()
		s.own.ledger.Release(key)
	}
}

// opened counts the entries of one binary that are open. It may be removed all the same; its bytes can be read until the last of them is closed.
type opened struct {
	entries  int
	unlinked int64 // bytes, once it was removed
}

// opening notes that the binary of key is being opened, until closed is called, once.
func (s *Store) opening(key string) (closed func()) {
	a := s.own
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.opened[key]
	if o == nil {
		o = new(opened)
		a.opened[key] = o
	}
	o.entries++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if o.entries--; o.entries > 0 {
			return
		}
		a.unlinked -= o.unlinked
		if a.opened[key] == o {
			delete(a.opened, key)
		}
	}
}

// unlink notes that the binary of key was removed. It is called with mu held.
func (a *account) unlink(key string) {
	item, _ := a.ledger.Get(key)
	if o := a.opened[key]; o != nil {
		o.unlinked = item.Binary
		a.unlinked += item.Binary
		delete(a.opened, key)
	}
	delete(a.verified, key)
}

// refresh takes stock of what other processes may have changed. It is called under exclusive.
func (s *Store) refresh(ctx context.Context) error {
	prefixes, keys, seen, err := s.own.place.Changed(ctx)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	there := make(map[string]bool, len(keys))
	for _, key := range keys {
		if k6x.CheckKey(key) != nil {
			continue
		}
		recorded, err := s.look(ctx, key)
		if err == nil && !recorded {
			// Left by a killed process.
			s.logger.Error("artifact without a record removed", "key", key)
			err = s.discard(ctx, s.home(key))
		}
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		there[key] = recorded
	}
	seen()
	if len(prefixes) == 0 {
		return nil
	}
	within := make(map[string]bool, len(prefixes))
	for _, prefix := range prefixes {
		within[prefix] = true
	}
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	var missing []string
	for key := range s.own.ledger.Keys() {
		if within[key[:2]] && !there[key] {
			missing = append(missing, key)
		}
	}
	for _, key := range missing {
		s.drop(key)
	}
	return nil
}

// look enters what is there for key, and reports whether there is a record. It is for when another process may have
// changed the artifact.
func (s *Store) look(ctx context.Context, key string) (bool, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	record, err := s.bucket.Stat(ctx, s.record(key))
	if isAbsent(err) {
		s.drop(key)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	item := ledger.Item{Record: record.Size, Used: record.ModTime}
	binary, err := s.bucket.Stat(ctx, s.binary(key, ""))
	switch {
	case err == nil:
		item.Binary = binary.Size
		if binary.ModTime.After(item.Used) { // an earlier version noted the last use there
			item.Used = binary.ModTime
		}
	case !isAbsent(err):
		return false, err
	}
	if old, ok := s.own.ledger.Get(key); ok && old.Used.After(item.Used) {
		item.Used = old.Used
	}
	s.own.ledger.Set(key, item)
	return true, nil
}

// find reports whether there is a record for key. What another process stored since is found by looking for it.
func (s *Store) find(ctx context.Context, key string) (bool, error) {
	s.own.mu.Lock()
	_, known := s.own.ledger.Get(key)
	s.own.mu.Unlock()
	if known {
		return true, nil
	}
	return s.look(ctx, key)
}

// drop takes out what is gone. It is called with mu held.
func (s *Store) drop(key string) {
	if _, ok := s.own.ledger.Get(key); !ok {
		return
	}
	s.own.ledger.Drop(key)
	delete(s.own.verified, key)
	s.own.hot.Remove(key)
	s.own.paths.Purge() // rare, and a path of the key may be bound to another one next
}

// entered enters an artifact that has come to its place, and whose bytes were read back; again: as it was there before.
func (s *Store) entered(ctx context.Context, artifact k6x.Artifact, recordSize int64, again bool) {
	key, now := artifact.Recipe.Key(), s.cfg.Clock()
	s.own.place.Note(key, again)
	binary, err := s.bucket.Stat(context.WithoutCancel(ctx), s.binary(key, ""))
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	s.own.ledger.Set(key, ledger.Item{Record: recordSize, Binary: artifact.Size, Used: now})
	if err == nil {
		s.own.verified[key] = binary.Version()
	}
}

// touch notes the time of the last use in the place.
func (s *Store) touch(ctx context.Context, key string, used time.Time) {
	if err := s.own.place.Touch(ctx, s.record(key), used); blob.IgnoreAbsent(err) != nil {
		s.logger.Warn("time of use cannot be kept", "key", key, "error", err)
	}
}

// discard removes a blob, or all below a name.
func (s *Store) discard(ctx context.Context, name string) error {
	remove, err := s.own.place.Discard(context.WithoutCancel(ctx), name)
	if err == nil {
		remove()
	}
	return err
}

// use notes a use of key, in the account at once and in the place at most once a minute. It reports whether the bytes were verified.
func (s *Store) use(ctx context.Context, key string, in *info) (verified bool) {
	now := s.cfg.Clock()
	s.own.mu.Lock()
	s.own.ledger.Use(key, now)
	verified = s.own.verified[key] == in.version
	s.own.mu.Unlock()
	if last := in.touched.Load(); now.Unix()-last >= int64(time.Minute/time.Second) && in.touched.CompareAndSwap(last, now.Unix()) {
		s.touch(ctx, key, now)
	}
	return verified
}

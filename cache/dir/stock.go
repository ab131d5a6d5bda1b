package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k6x"
	"k6x/cache/internal/ledger"
)

// refresh takes stock of the directories below artifacts that changed since they were
// last read: at the start all of them, later those that another process changed. It
// is called under exclusive.
func (s *Store) refresh() error {
	root := filepath.Join(s.dir, "artifacts")
	shards, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, shard := range shards {
		info, err := shard.Info()
		if err != nil || !info.IsDir() || len(shard.Name()) != 2 {
			continue
		}
		if before, ok := s.shards[shard.Name()]; ok && before.Equal(info.ModTime()) {
			continue
		}
		if err := s.readShard(shard.Name()); err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		changed[shard.Name()] = true
		s.shards[shard.Name()] = info.ModTime()
	}
	s.dropMissing(changed)
	return nil
}

// noteShard keeps refresh from reading a directory again for a change of our own.
func (s *Store) noteShard(key string) {
	if info, err := os.Stat(s.shard(key)); err == nil {
		s.shards[key[:2]] = info.ModTime()
	}
}

func (s *Store) readShard(shard string) error {
	dir := filepath.Join(s.dir, "artifacts", shard)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		key := entry.Name()
		if k6x.CheckKey(key) != nil || key[:2] != shard {
			continue
		}
		item, err := s.stat(key)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Nothing of ours leaves such a thing; whatever did, it is no artifact.
			s.logger.Error("artifact without a record removed", "key", key)
			if err := s.discard(s.home(key)); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			s.mu.Lock()
			s.enter(key, item)
			s.mu.Unlock()
		}
	}
	return nil
}

// stat returns the account of the artifact on disk; fs.ErrNotExist if there is no record.
func (s *Store) stat(key string) (ledger.Item, error) {
	record, err := os.Lstat(s.record(key))
	if err != nil {
		return ledger.Item{}, err
	}
	item := ledger.Item{Record: record.Size(), Used: record.ModTime()}
	binary, err := os.Lstat(s.binary(key))
	switch {
	case err == nil:
		item.Binary, item.Used = binary.Size(), binary.ModTime()
	case !errors.Is(err, fs.ErrNotExist):
		return ledger.Item{}, err
	}
	return item, nil
}

// enter enters what was found on disk, with the later one of two last uses. It is
// called with mu held.
func (s *Store) enter(key string, item ledger.Item) {
	if old, ok := s.ledger.Get(key); ok && old.Used.After(item.Used) {
		item.Used = old.Used
	}
	s.ledger.Set(key, item)
}

// look enters what is on disk for key, and reports whether there is a record. It is for
// when another process may have changed the artifact.
func (s *Store) look(key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, err := s.stat(key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.drop(key)
		return false, nil
	case err != nil:
		return false, err
	}
	s.enter(key, item)
	return true, nil
}

// find reports whether there is a record for key. What another process stored since
// is found by looking at the disk.
func (s *Store) find(key string) (bool, error) {
	s.mu.Lock()
	_, known := s.ledger.Get(key)
	s.mu.Unlock()
	if known {
		return true, nil
	}
	return s.look(key)
}

// dropMissing drops from the account what is gone from the directories named.
func (s *Store) dropMissing(shards map[string]bool) {
	if len(shards) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []string
	for key := range s.ledger.Keys() {
		if !shards[key[:2]] {
			continue
		}
		if _, err := os.Lstat(s.home(key)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, key)
		}
	}
	for _, key := range missing {
		s.drop(key)
	}
}

// drop takes out what is gone from the disk. It is called with mu held.
func (s *Store) drop(key string) {
	if _, ok := s.ledger.Get(key); !ok {
		return
	}
	s.ledger.Drop(key)
	s.hot.Remove(key)
	s.paths.Purge() // rare, and a path of the key may be bound to another one next
}

// discard removes a file or directory so that it is gone at once, whatever its size.
func (s *Store) discard(name string) error {
	aside := s.temp()
	if err := s.fs.Rename(name, aside); err != nil {
		return err
	}
	s.remove(aside)
	return nil
}

// remove removes a temporary file; what cannot be removed is left to the next sweep.
func (s *Store) remove(name string) {
	if err := s.fs.RemoveAll(name); err != nil {
		s.logger.Warn("temporary file cannot be removed", "name", name, "error", err)
	}
}

// use notes a use of key, in the account at once and on disk at most once a minute.
func (s *Store) use(key string, in *info) {
	now := s.clock()
	s.mu.Lock()
	s.ledger.Use(key, now)
	s.mu.Unlock()
	last := in.touched.Load()
	if now.Unix()-last < int64(time.Minute/time.Second) || !in.touched.CompareAndSwap(last, now.Unix()) {
		return
	}
	if err := s.fs.Touch(s.binary(key), now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.logger.Warn("time of use cannot be kept", "key", key, "error", err)
	}
}

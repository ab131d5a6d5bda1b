package dir

import (
	"errors"
	"io/fs"
	"os"

	"k6x/cache/internal/ledger"
	"k6x/cache/internal/record"
)

// makeRoom removes what has to go before an artifact of the given sizes can be stored
// under key. If that cannot be had, it returns an error of kind NoSpace. It is called
// under exclusive.
func (s *Store) makeRoom(key string, recordSize, binarySize int64) error {
	var stuck []string
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, key := range stuck {
			s.ledger.Release(key)
		}
	}()
	for {
		s.mu.Lock()
		plan, ok := s.ledger.Plan(key, recordSize, binarySize)
		s.mu.Unlock()
		if !ok {
			return record.NoRoom()
		}
		if plan.Empty() {
			return nil
		}
		if s.usedElsewhere(plan) {
			continue
		}
		steps := func(keys []string, step func(string) error) {
			for _, key := range keys {
				if err := step(key); err != nil {
					// On Windows a file that another process has open cannot be moved.
					s.logger.Warn("artifact cannot be removed to make room", "key", key, "error", err)
					s.hold(key)
					stuck = append(stuck, key)
				}
			}
		}
		steps(plan.Evict, s.evict)
		steps(plan.Forget, s.forget)
	}
}

// usedElsewhere reports whether another process used what the plan would evict, after
// having entered the time of that use.
func (s *Store) usedElsewhere(plan ledger.Plan) bool {
	used := false
	for _, key := range plan.Evict {
		file, err := os.Lstat(s.binary(key))
		if err != nil {
			continue
		}
		s.mu.Lock()
		if item, ok := s.ledger.Get(key); ok && file.ModTime().After(item.Used) {
			s.ledger.Use(key, file.ModTime())
			used = true
		}
		s.mu.Unlock()
	}
	return used
}

// evict removes the binary of key. If it is in use since the plan was made, nothing happens.
func (s *Store) evict(key string) error {
	aside := s.temp()
	if gone, err := s.evictTo(aside, key); err != nil || !gone {
		return err
	}
	s.remove(aside)
	return nil
}

func (s *Store) evictTo(aside, key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, ok := s.ledger.Get(key)
	if !ok || s.ledger.Held(key) {
		return false, nil
	}
	err := s.fs.Rename(s.binary(key), aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := s.fs.Touch(s.record(key), item.Used); err != nil {
		s.logger.Debug("time of use cannot be kept", "key", key, "error", err)
	}
	item.Binary = 0
	s.ledger.Set(key, item)
	s.evictions++
	return true, nil
}

// forget removes all of key: its record, and the binding of the path that it was first
// built for. Other bindings to it read as not found from then on.
func (s *Store) forget(key string) error {
	first, readErr := s.readRecord(key)
	aside := s.temp()
	if gone, err := s.forgetTo(aside, key); err != nil || !gone {
		return err
	}
	s.noteShard(key)
	s.remove(aside)
	if readErr != nil {
		return nil
	}
	if bound, err := s.readBinding(first.Path); err == nil && bound == key {
		s.remove(s.binding(first.Path))
	}
	return nil
}

func (s *Store) forgetTo(aside, key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ledger.Held(key) {
		return false, nil
	}
	err := s.fs.Rename(s.home(key), aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	s.drop(key)
	s.forgotten++
	return true, nil
}

package dir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"k6x"
	"k6x/cache"
	"k6x/internal/disk"
)

// binding is what a file below paths holds.
type binding struct {
	Path string `json:"path"`
	Key  string `json:"key"`
}

const (
	maxBinding = 1 << 16 // bytes of a file
	notBound   = "the meaning of the path could not be kept"
)

// Lookup implements [cache.Store].
func (s *Store) Lookup(ctx context.Context, path string) (string, error) {
	if err := cache.CheckPath(path); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	key, err := s.lookup(path)
	return key, fault("the meaning of the path could not be read", err)
}

// lookup returns the key that path is bound to, or ErrNotFound, also if there is no
// record under the key any more.
func (s *Store) lookup(path string) (string, error) {
	key, hot := s.paths.Get(path)
	if !hot {
		var err error
		if key, err = s.readBinding(path); err != nil {
			return "", err
		}
	}
	known, err := s.find(key)
	switch {
	case err != nil:
		return "", err
	case !known && hot:
		s.paths.Remove(path)
		return s.lookup(path)
	case !known:
		return "", cache.ErrNotFound
	}
	s.paths.ContainsOrAdd(path, key) // what a Bind entered meanwhile is newer
	return key, nil
}

// readBinding reads the binding of path from the disk, or returns ErrNotFound.
func (s *Store) readBinding(path string) (string, error) {
	data, err := disk.ReadFile(s.binding(path), maxBinding)
	if errors.Is(err, fs.ErrNotExist) {
		return "", cache.ErrNotFound
	}
	if err != nil {
		return "", err
	}
	var b binding
	if err := json.Unmarshal(data, &b); err != nil || b.Path != path || k6x.CheckKey(b.Key) != nil {
		s.logger.Error("damaged binding passed over", "path", path, "file", s.binding(path), "error", err)
		return "", cache.ErrNotFound
	}
	return b.Key, nil
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, path, key string) (string, error) {
	if err := cache.CheckPath(path); err != nil {
		return "", err
	}
	if err := check(ctx, key); err != nil {
		return "", err
	}
	if bound, err := s.lookup(path); err == nil {
		return bound, nil
	}
	var bound string
	err := s.exclusive(func() (err error) {
		bound, err = s.bind(path, key)
		return err
	})
	return bound, fault(notBound, err)
}

// bind binds path to key unless it is bound. What is read here stays true while the store
// is locked, so that no binding in force is ever replaced.
func (s *Store) bind(path, key string) (string, error) {
	s.paths.Remove(path)
	bound, err := s.lookup(path)
	if !errors.Is(err, cache.ErrNotFound) {
		return bound, err
	}
	if _, err := s.readRecord(key); err != nil {
		return "", err
	}
	if err := s.writeBinding(path, key); err != nil {
		return "", err
	}
	s.paths.Add(path, key)
	return key, nil
}

// writeBinding binds a path that is not bound, durably. It is called under exclusive.
func (s *Store) writeBinding(path, key string) error {
	data, err := json.Marshal(binding{Path: path, Key: key})
	if err != nil {
		return fmt.Errorf("encode a binding: %w", err)
	}
	name := s.binding(path)
	if err := s.makeShard(filepath.Dir(name)); err != nil {
		return err
	}
	if err := s.fs.Replace(name, s.temp(), append(data, '\n')); err != nil {
		// It may be in place, but not outlast a power cut: better nothing than perhaps.
		return errors.Join(err, s.fs.RemoveAll(name))
	}
	return nil
}

package bucket

import (
	"context"
	"encoding/json"
	"fmt"

	"k6x"
	"k6x/cache"
)

// binding is what an object below paths holds.
type binding struct {
	Path string `json:"path"`
	Key  string `json:"key"`
}

const maxBinding = 1 << 16 // bytes of an object

// Lookup implements [cache.Store].
func (s *Store) Lookup(ctx context.Context, path string) (string, error) {
	if err := cache.CheckPath(path); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	name := bindingName(path)
	data, err := s.get(ctx, name, maxBinding)
	if isAbsent(err) {
		return "", cache.ErrNotFound
	}
	if err != nil {
		return "", err
	}
	var b binding
	if err := json.Unmarshal(data, &b); err != nil || b.Path != path || k6x.CheckKey(b.Key) != nil {
		s.logger.Error("damaged binding in the bucket", "path", path, "name", name)
		return "", explain(ctx, fmt.Errorf("%w: %s", errDamaged, name))
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
	if _, err := s.stat(ctx, recordName(key)); isAbsent(err) {
		return "", cache.ErrNotFound
	} else if err != nil {
		return "", err
	}
	return s.bind(ctx, path, key)
}

// bind binds path to a key that has a record, unless it is bound, and returns the key that it is bound to.
func (s *Store) bind(ctx context.Context, path, key string) (string, error) {
	data, err := json.Marshal(binding{Path: path, Key: key})
	if err != nil {
		return "", fmt.Errorf("encode a binding: %w", err)
	}
	switch err := s.putOnce(ctx, bindingName(path), data); {
	case err == nil:
		return key, nil
	case isTaken(err):
		return s.Lookup(ctx, path)
	default:
		return "", explain(ctx, err)
	}
}

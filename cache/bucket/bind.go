package bucket

import (
	"context"
	"encoding/json"
	"errors"
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

// check returns an error unless b binds path.
func (b binding) check(path string) error {
	if b.Path != path {
		return errors.New("it is that of another path")
	}
	return errors.Join(cache.CheckPath(b.Path), k6x.CheckKey(b.Key))
}

// Lookup implements [cache.Store].
func (s *Store) Lookup(ctx context.Context, path string) (string, error) {
	if err := cache.CheckPath(path); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	key, err := s.lookup(ctx, path)
	return key, fault("the meaning of the path could not be read", err)
}

// lookup returns the key that path is bound to, or ErrNotFound, in a place also if there is no
// record under the key any more.
func (s *Store) lookup(ctx context.Context, path string) (string, error) {
	if s.own == nil {
		return s.readBinding(ctx, path)
	}
	key, hot := s.own.paths.Get(path)
	if !hot {
		var err error
		if key, err = s.readBinding(ctx, path); err != nil {
			return "", err
		}
	}
	known, err := s.find(ctx, key)
	switch {
	case err != nil:
		return "", err
	case !known && hot:
		s.own.paths.Remove(path)
		return s.lookup(ctx, path)
	case !known:
		return "", cache.ErrNotFound
	}
	if !hot {
		s.own.paths.Add(path, key)
	}
	return key, nil
}

// readBinding reads the binding of path, or returns ErrNotFound. In a place a damaged one is as good as none.
func (s *Store) readBinding(ctx context.Context, path string) (string, error) {
	name := s.binding(path)
	data, err := s.get(ctx, name, maxBinding)
	if isAbsent(err) {
		return "", cache.ErrNotFound
	}
	var b binding
	if err == nil {
		if err = json.Unmarshal(data, &b); err == nil {
			err = b.check(path)
		}
		if err != nil {
			err = s.explain(ctx, fmt.Errorf("%w: %s: %w", errDamaged, name, err))
		}
	}
	if errors.Is(err, errDamaged) {
		s.logger.Error("damaged binding", "path", path, "name", name, "error", cause(err))
		if s.own != nil {
			return "", cache.ErrNotFound
		}
	}
	return b.Key, err
}

// Bind implements [cache.Store].
func (s *Store) Bind(ctx context.Context, path, key string) (string, error) {
	if err := cache.CheckPath(path); err != nil {
		return "", err
	}
	if err := check(ctx, key); err != nil {
		return "", err
	}
	if s.own == nil {
		if _, err := s.stat(ctx, s.record(key)); isAbsent(err) {
			return "", cache.ErrNotFound
		} else if err != nil {
			return "", err
		}
	}
	return s.bind(ctx, path, key)
}

// bind binds path to a key that has a record, unless it is bound, and returns the key that it is bound to.
func (s *Store) bind(ctx context.Context, path, key string) (bound string, err error) {
	if s.own != nil {
		if bound, err := s.lookup(ctx, path); err == nil {
			return bound, nil
		}
		alias := false
		err = s.exclusive(func() error {
			first, err := s.readRecord(ctx, key)
			if err != nil {
				return err
			}
			bound, alias, err = s.bindLocked(ctx, path, key)
			alias = alias && path != first.Path
			return err
		})
		if alias {
			s.boundAliases(ctx)
		}
		return bound, fault(notBound, err)
	}
	switch err := s.putOnce(ctx, s.binding(path), encodeBinding(path, key)); {
	case err == nil:
		return key, nil
	case isTaken(err):
		return s.Lookup(ctx, path)
	default:
		return "", explain(ctx, err)
	}
}

const notBound = "the meaning of the path could not be kept"

// bindLocked binds path in a place unless it is bound, and reports whether it wrote that. It is called under exclusive: what is read here
// stays true, so that no binding in force is ever replaced. It does not count before there is a record.
func (s *Store) bindLocked(ctx context.Context, path, key string) (bound string, wrote bool, err error) {
	s.own.paths.Remove(path)
	bound, err = s.lookup(ctx, path)
	if !errors.Is(err, cache.ErrNotFound) {
		return bound, false, err
	}
	write := func() error { return s.write(ctx, s.binding(path), append(encodeBinding(path, key), '\n'), false) }
	if err := s.roomy(ctx, locked, write); err != nil {
		// It may be in place, but not outlast a power cut: better nothing than perhaps.
		return "", false, errors.Join(err, s.discard(ctx, s.binding(path)))
	}
	return key, true, nil
}

func encodeBinding(path, key string) []byte {
	data, _ := json.Marshal(binding{Path: path, Key: key}) // of texts
	return data
}

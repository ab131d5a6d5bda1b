package bucket

import "context"

// Forget removes all of key from a place, as making room would.
func (s *Store) Forget(ctx context.Context, key string) error {
	return s.exclusive(func() error { return s.forget(ctx, key) })
}

// Remember enters a binding in memory, as a Lookup that is under way would.
func (s *Store) Remember(path, key string) { s.own.paths.Add(path, key) }

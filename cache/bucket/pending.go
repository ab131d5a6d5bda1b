package bucket

import (
	"context"
	"strings"

	"k6x"
)

const uploads = "uploads/" // below it a blob for each key that is still to be stored elsewhere

// Pend notes in a place that an artifact is still to be stored elsewhere, and whether its path is to be bound there.
func (s *Store) Pend(ctx context.Context, key string, bind bool) error {
	note := "form"
	if bind {
		note = "bind"
	}
	return s.exclusive(func() error { return s.write(ctx, uploads+key, []byte(note), false) })
}

// Uploaded takes that note back.
func (s *Store) Uploaded(ctx context.Context, key string) error {
	return s.exclusive(func() error { return s.bucket.Delete(ctx, uploads+key) })
}

// Pending returns the keys that are noted, and whether their paths are to be bound.
func (s *Store) Pending(ctx context.Context) (map[string]bool, error) {
	keys := map[string]bool{}
	for info, err := range s.bucket.List(ctx, uploads) {
		if err != nil {
			return keys, err
		}
		key := strings.TrimPrefix(info.Name, uploads)
		if k6x.CheckKey(key) != nil {
			continue // of another program
		}
		note, err := s.get(ctx, info.Name, 16)
		if err != nil {
			return keys, err
		}
		keys[key] = string(note) == "bind"
	}
	return keys, nil
}

// Forget removes all of key from a place, as making room would.
func (s *Store) Forget(ctx context.Context, key string) error {
	return s.exclusive(func() error { return s.forget(ctx, key) })
}

package dir

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// The files of a store, as the documentation of the package has them.

func (s *Store) home(key string) string {
	return filepath.Join(s.place.dir, "artifacts", key[:2], key)
}

func (s *Store) binary(key string) string { return filepath.Join(s.home(key), "binary") }

func (s *Store) record(key string) string { return filepath.Join(s.home(key), "artifact.json") }

func (s *Store) binding(path string) string {
	sum := sha256.Sum256([]byte(path))
	hash := hex.EncodeToString(sum[:])
	return filepath.Join(s.place.dir, "paths", hash[:2], hash)
}

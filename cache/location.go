package cache

import (
	"path/filepath"

	"github.com/adrg/xdg"
)

// DefaultDir returns the directory to keep caches in: k6x below the user's cache
// directory, which XDG_CACHE_HOME may name.
func DefaultDir() string { return filepath.Join(xdg.CacheHome, "k6x") }

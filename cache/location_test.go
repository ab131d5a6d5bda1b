package cache_test

import (
	"path/filepath"
	"testing"

	"github.com/adrg/xdg"

	"k6x/cache"
)

func TestDefaultDirIsBelowTheCacheHome(t *testing.T) {
	home := t.TempDir()
	t.Cleanup(xdg.Reload) // after t.Setenv has put the variable back
	t.Setenv("XDG_CACHE_HOME", home)
	xdg.Reload()
	if got, want := cache.DefaultDir(), filepath.Join(home, "k6x"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

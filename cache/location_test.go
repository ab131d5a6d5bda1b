package cache_test

import (
	"os/user"
	"path/filepath"
	"runtime"
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
	if got, want := cache.DefaultDir("objects"), filepath.Join(home, "k6x", "objects"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A service may be started without an environment.
func TestWithoutHomeTheDefaultDirIsBelowThatOfTheAccount(t *testing.T) {
	account, err := user.Current()
	if err != nil || runtime.GOOS == "windows" || account.HomeDir == "/" {
		t.Skip("no account with a home")
	}
	t.Cleanup(xdg.Reload)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", account.HomeDir)
	xdg.Reload()
	want := cache.DefaultDir()
	t.Setenv("HOME", "")
	xdg.Reload()
	if got := cache.DefaultDir(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	t.Setenv("XDG_CACHE_HOME", "/caches")
	xdg.Reload()
	if got := cache.DefaultDir(); got != "/caches/k6x" {
		t.Errorf("got %s, want /caches/k6x", got)
	}
}

package cache_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k6x/cache"
)

// moduleCache makes a tree as the go command does, with directories that are read-only.
func moduleCache(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "mod")
	makeFile(t, filepath.Join(dir, "example.com", "it@v1.0.0", "sub", "it.go"), 10, 0)
	makeFile(t, filepath.Join(dir, "cache", "download", "list"), 10, 0)
	makeFile(t, filepath.Join(filepath.Dir(dir), "mod.removed-OLD", "left", "over"), 10, 0)
	makeFile(t, filepath.Join(filepath.Dir(dir), "module", "other"), 10, 0)
	chmodDirs(t, dir, 0o555)
	t.Cleanup(func() { chmodDirs(t, dir, 0o755) })
	return dir
}

func chmodDirs(t *testing.T, dir string, mode fs.FileMode) {
	t.Helper()
	var dirs []string
	filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, name)
		}
		return nil
	})
	for _, name := range dirs {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveAllRemovesReadOnlyDirectoriesAndLeftovers(t *testing.T) {
	dir := moduleCache(t)
	unprivileged(t, filepath.Dir(dir), func() {
		if err := cache.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if want := []string{"module"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

func TestRemoveAllRefusesWhatIsNoDirectoryOfItsOwn(t *testing.T) {
	t.Chdir(t.TempDir())
	makeFile(t, "file", 1, 0)
	for _, dir := range []string{"", ".", "..", "/", "x/.."} {
		if err := cache.RemoveAll(dir); err == nil {
			t.Errorf("RemoveAll of %q: no error", dir)
		}
	}
	if got := files(t, "."); len(got) != 1 {
		t.Errorf("left %q", got)
	}
}

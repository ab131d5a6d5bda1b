package cache_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"k6x/cache"
)

// makeFile makes a file of size bytes that was modified age ago.
func makeFile(t *testing.T, name string, size int, age time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.Repeat([]byte("x"), size), 0o644); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

// files returns the slash separated names of all files below dir, sorted.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(dir, name)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func buildCache(t *testing.T) string {
	dir := t.TempDir()
	makeFile(t, filepath.Join(dir, "README"), 100, 99*time.Hour)
	makeFile(t, filepath.Join(dir, "trim.txt"), 100, 99*time.Hour)
	makeFile(t, filepath.Join(dir, "testexpire.txt"), 100, 99*time.Hour)
	for i, name := range []string{"00/a-a", "00/b-d", "01/c-d", "ff/d-a", "ff/e-d/k6"} {
		makeFile(t, filepath.Join(dir, name), 1000, time.Duration(10-i)*time.Hour) // the first is the oldest
	}
	return dir
}

func TestTrimRemovesTheOldestDownToFourFifths(t *testing.T) {
	dir := buildCache(t)
	freed, err := cache.Trim(t.Context(), dir, 5000)
	if err != nil || freed != 2000 {
		t.Errorf("freed %d, %v, want 2000", freed, err)
	}
	want := []string{"01/c-d", "README", "ff/d-a", "ff/e-d/k6", "testexpire.txt", "trim.txt"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	if size, err := cache.Size(dir); err != nil || size != 3300 {
		t.Errorf("Size: %d, %v", size, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "00")); err != nil || !info.IsDir() {
		t.Errorf("a directory was removed: %v", err)
	}
}

func TestTrimLeavesWhatIsWithinTheLimit(t *testing.T) {
	dir := buildCache(t)
	before := files(t, dir)
	for _, limit := range []int64{5300, 0} { // exactly as large, and none
		freed, err := cache.Trim(t.Context(), dir, limit)
		if err != nil || freed != 0 {
			t.Errorf("limit %d: freed %d, %v", limit, freed, err)
		}
	}
	if got := files(t, dir); !slices.Equal(got, before) {
		t.Errorf("left %q, want %q", got, before)
	}
}

func TestTrimStopsWithItsContext(t *testing.T) {
	dir := buildCache(t)
	before := files(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.Trim(ctx, dir, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
	if got := files(t, dir); !slices.Equal(got, before) {
		t.Errorf("left %q, want %q", got, before)
	}
}

func TestTrimFollowsNoLinkOutOfTheDirectory(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "precious")
	makeFile(t, outside, 5000, 999*time.Hour)
	dir := buildCache(t)
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, "link")); err != nil {
		t.Skipf("this system makes no symbolic links: %v", err)
	}
	if freed, err := cache.Trim(t.Context(), dir, 5299); err != nil || freed != 2000 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

func TestMissingDirectoryHasNoSize(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if size, err := cache.Size(missing); err != nil || size != 0 {
		t.Errorf("Size: %d, %v", size, err)
	}
	if freed, err := cache.Trim(t.Context(), missing, 1); err != nil || freed != 0 {
		t.Errorf("Trim: %d, %v", freed, err)
	}
	if err := cache.RemoveAll(missing); err != nil {
		t.Errorf("RemoveAll: %v", err)
	}
	if err := cache.RemoveAll(filepath.Join(missing, "below")); err != nil {
		t.Errorf("RemoveAll: %v", err)
	}
}

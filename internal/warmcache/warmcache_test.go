package warmcache

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestItIsMadeOnceAndEachHasACopy(t *testing.T) {
	t.Setenv("K6X_TEST_CACHE", t.TempDir())
	var made atomic.Int64
	fill := func(text string) func(string) error {
		return func(shared string) error {
			made.Add(1)
			return errors.Join(os.MkdirAll(filepath.Join(shared, "sub"), 0o755), os.WriteFile(filepath.Join(shared, "sub", "file"), []byte(text), 0o644),
				os.WriteFile(filepath.Join(shared, "sub", "output-d"), []byte(text), 0o444))
		}
	}
	check := func(version, want string) {
		dir := t.TempDir()
		if err := Copy(dir, "it", version, fill(version)); err != nil {
			t.Error(err)
			return
		}
		file := filepath.Join(dir, "sub", "file")
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
		output := filepath.Join(dir, "sub", "output-d")
		if got, err := os.ReadFile(output); err != nil || string(got) != want {
			t.Errorf("output: %q, %v, want %q", got, err, want)
		}
		if err := errors.Join(os.WriteFile(file, []byte("spoilt"), 0o644), os.Remove(output)); err != nil { // which no other test may see
			t.Error(err)
		}
	}
	failed := errors.New("failed")
	err := Copy(t.TempDir(), "it", "v1", func(shared string) error { return errors.Join(fill("half")(shared), failed) })
	if !errors.Is(err, failed) {
		t.Errorf("it failed to be made: %v", err)
	}
	made.Store(0)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { check("v1", "v1") })
	}
	all.Wait()
	check("v2", "v2")
	check("v2", "v2")
	if n := made.Load(); n != 2 {
		t.Errorf("made %d times", n)
	}
	if kept, err := filepath.Glob(filepath.Join(os.Getenv("K6X_TEST_CACHE"), "it-*")); err != nil || len(kept) != 1 {
		t.Errorf("kept: %q, %v", kept, err)
	}
}

package dir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k6x"
	"k6x/cache"
	"k6x/cache/cachetest"
)

func TestOnAFullFileSystemOldBinariesMakeRoom(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("K6X_TEST_FULL") != "" {
			t.Fatal(err)
		}
		t.Skipf("a small file system cannot be mounted (%v); the injected failures of this package stand in for it", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s := mustOpen(t, Config{Dir: filepath.Join(dir, "store")})
	mustPut(t, s, 0, 400_000)
	ballast := filepath.Join(dir, "ballast")
	write(t, ballast, string(cachetest.Bytes(9, 300_000)))

	unpin := s.Pin(key(0))
	for range 3 { // the first attempt must not eat up room for good
		_, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill(cachetest.Bytes(1, 400_000)))
		if e := k6x.AsError(err); err == nil || e.Kind != k6x.NoSpace || e.Hint == "" || !strings.Contains(e.Message, "disk of the store") || strings.Contains(e.Message+e.Hint, dir) {
			t.Fatalf("Put: got error %v (%v), want kind %v with a hint, and the disk named without its path", err, k6x.KindOf(err), k6x.NoSpace)
		}
		if s.Stats().Full == "" {
			t.Error("the store does not say that its disk is full")
		}
	}
	if _, err := s.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Record: %v, want ErrNotFound", err)
	}
	wantBytes(t, s, 0, 400_000)
	unpin()
	for n := range 6 {
		mustPut(t, s, n, 400_000)
		wantBytes(t, s, n, 400_000)
	}
	if stats := s.Stats(); stats.Full != "" || stats.Evictions < 4 {
		t.Errorf("%+v", stats)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, 1, 400_000)
	wantBytes(t, s, 1, 400_000)
}

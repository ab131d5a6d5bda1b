package bucket_test

import (
	"errors"
	"testing"

	"k6x/cache"
	"k6x/cache/cachetest"
	"k6x/cache/dir"
)

func TestPathBoundAnewElsewhereIsNotTakenFromMemory(t *testing.T) {
	where := t.TempDir()
	var stores []*dir.Store
	for range 2 {
		s, err := dir.Open(dir.Config{Dir: where})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		stores = append(stores, s)
	}
	a, b := stores[0], stores[1]
	path := cachetest.Recipe(0).Path()
	key := func(n int) string { return cachetest.Recipe(n).Key() }
	put := func(s *dir.Store, n int) {
		t.Helper()
		if _, err := s.Put(t.Context(), cachetest.Recipe(n), cachetest.Fill(cachetest.Bytes(uint64(n), 1000))); err != nil {
			t.Fatal(err)
		}
	}
	put(a, 0)
	if bound, err := a.Bind(t.Context(), path, key(0)); err != nil || bound != key(0) {
		t.Fatalf("Bind: %s, %v", bound, err)
	}
	if err := b.Forget(t.Context(), key(0)); err != nil {
		t.Fatal(err)
	}
	put(b, 1)
	if bound, err := b.Bind(t.Context(), path, key(1)); err != nil || bound != key(1) {
		t.Fatalf("Bind: %s, %v", bound, err)
	}
	if _, err := a.Open(t.Context(), key(0)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Open: %v, want ErrNotFound", err)
	}
	a.Remember(path, key(0))
	if bound, err := a.Lookup(t.Context(), path); err != nil || bound != key(1) {
		t.Errorf("Lookup: %s, %v, want the new key", bound, err)
	}
}

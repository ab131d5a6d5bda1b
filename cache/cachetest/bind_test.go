package cachetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"k6x/cache"
)

func wantBound(t *testing.T, s cache.Store, path, key string) {
	t.Helper()
	got, err := s.Lookup(t.Context(), path)
	if err != nil || got != key {
		t.Errorf("Lookup: got %s, %v, want %s", got, err, key)
	}
}

func bindOnce(t *testing.T, s cache.Store) {
	const path, other = "/linux/amd64/k6@v1.8.1,k6/x/it@v0.1.0", "/linux/amd64/k6@v1.8.1,it@v0.1.0"
	put(t, s, Recipe(1), []byte("one"))
	put(t, s, Recipe(2), []byte("two"))
	for _, key := range []string{Recipe(1).Key(), Recipe(2).Key(), Recipe(1).Key()} {
		bound, err := s.Bind(t.Context(), path, key)
		if err != nil || bound != Recipe(1).Key() {
			t.Errorf("Bind: got %s, %v, want the first key", bound, err)
		}
		wantBound(t, s, path, Recipe(1).Key())
	}
	if _, err := s.Bind(t.Context(), other, Recipe(1).Key()); err != nil {
		t.Errorf("Bind of a second path to one key: %v", err)
	}
	wantBound(t, s, other, Recipe(1).Key())
}

func concurrentBinds(t *testing.T, s cache.Store) {
	const path, binders = "/linux/amd64/k6@v1.8.1", 8
	for n := range binders {
		put(t, s, Recipe(n), Bytes(uint64(n), 100))
	}
	var done sync.WaitGroup
	start := make(chan struct{})
	results := make([]string, binders)
	for n := range binders {
		done.Go(func() {
			<-start
			bound, err := s.Bind(t.Context(), path, Recipe(n).Key())
			if err != nil {
				t.Errorf("Bind: %v", err)
			}
			results[n] = bound
		})
	}
	close(start)
	done.Wait()
	for _, bound := range results {
		wantBound(t, s, path, bound)
	}
}

func bindUnknown(t *testing.T, s cache.Store) {
	const path = "/linux/amd64/k6@v1.8.1"
	_, err := s.Bind(t.Context(), path, Recipe(1).Key())
	wantError(t, "Bind", err, cache.ErrNotFound)
	_, err = s.Lookup(t.Context(), path)
	wantError(t, "Lookup", err, cache.ErrNotFound)
	put(t, s, Recipe(1), []byte("binary"))
	if _, err := s.Bind(t.Context(), path, Recipe(1).Key()); err != nil {
		t.Errorf("Bind: %v", err)
	}
}

func putBinds(t *testing.T, s cache.Store) {
	other := Recipe(2)
	other.Toolchain = "go1.26.9" // which is not part of the path
	if _, err := s.Put(t.Context(), Recipe(2), Fill([]byte("a form of the binary")), cache.Unbound); err != nil {
		t.Fatal(err)
	}
	_, err := s.Lookup(t.Context(), Recipe(2).Path())
	wantError(t, "Lookup after a Put that binds nothing", err, cache.ErrNotFound)
	put(t, s, other, []byte("the binary"))
	wantBound(t, s, other.Path(), other.Key())
	for _, options := range [][]cache.PutOption{nil, {cache.Looked}} { // it is there already, and its path is that of another
		if _, err := s.Put(t.Context(), Recipe(2), Fill([]byte("a form of the binary")), options...); err != nil {
			t.Fatal(err)
		}
		wantBound(t, s, other.Path(), other.Key())
	}
	if _, err := s.Put(t.Context(), Recipe(3), Fill([]byte("three")), cache.Unbound); err != nil {
		t.Fatal(err)
	}
	put(t, s, Recipe(3), []byte("three"))
	wantBound(t, s, Recipe(3).Path(), Recipe(3).Key())
}

func concurrentPutsBind(t *testing.T, s cache.Store) {
	const writers = 6
	var done sync.WaitGroup
	start := make(chan struct{})
	keys := make([]string, writers)
	for n := range writers {
		recipe := Recipe(1)
		recipe.Toolchain = fmt.Sprintf("go1.26.%d", n)
		keys[n] = recipe.Key()
		done.Go(func() {
			<-start
			if _, err := s.Put(t.Context(), recipe, Fill(Bytes(uint64(n), 1000)), cache.Looked); err != nil {
				t.Errorf("Put: %v", err)
			}
		})
	}
	close(start)
	done.Wait()
	bound, err := s.Lookup(t.Context(), Recipe(1).Path())
	if err != nil || !slices.Contains(keys, bound) {
		t.Errorf("Lookup: got %s, %v, want one of the keys", bound, err)
	}
	for n, key := range keys {
		wantBytes(t, s, key, Bytes(uint64(n), 1000))
		if got, err := s.Bind(t.Context(), Recipe(1).Path(), key); err != nil || got != bound {
			t.Errorf("Bind: got %s, %v, want %s", got, err, bound)
		}
	}
}

package dir

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"k6x"
	"k6x/cache"
	"k6x/cache/cachetest"
)

func TestOpenersOfOneDirectoryNeverServeWrongBytesWhileTheyEvictEachOther(t *testing.T) {
	dir := t.TempDir()
	var stores []*Store
	for range 3 {
		stores = append(stores, mustOpen(t, Config{Dir: dir, Size: 50_000}))
	}
	var done sync.WaitGroup
	for worker := range 6 {
		s := stores[worker%len(stores)]
		random := rand.New(rand.NewPCG(uint64(worker), 1))
		done.Go(func() {
			for range 40 {
				useSome(t, s, random.IntN(12))
			}
		})
	}
	done.Wait()
	var evictions, forgotten int64
	for _, s := range stores {
		evictions += s.Stats().Evictions
		forgotten += s.Stats().Forgotten
	}
	if evictions == 0 || forgotten == 0 {
		t.Errorf("%d evictions and %d records forgotten: the test proves nothing", evictions, forgotten)
	}
}

// useSome puts, binds and reads the n-th artifact; that it is gone again is no error.
func useSome(t *testing.T, s *Store, n int) {
	data := cachetest.Bytes(uint64(n), 10_000)
	_, err := s.Put(t.Context(), cachetest.Recipe(n), cachetest.Fill(data))
	if err != nil && k6x.KindOf(err) != k6x.NoSpace {
		t.Errorf("Put: %v", err)
	}
	bound, err := s.Bind(t.Context(), cachetest.Recipe(n).Path(), key(n))
	if err != nil && !errors.Is(err, cache.ErrNotFound) || err == nil && bound != key(n) {
		t.Errorf("Bind: %s, %v", bound, err)
	}
	bound, err = s.Lookup(t.Context(), cachetest.Recipe(n).Path())
	if err != nil && !errors.Is(err, cache.ErrNotFound) || err == nil && bound != key(n) {
		t.Errorf("Lookup: %s, %v", bound, err)
	}
	entry, err := s.Open(t.Context(), key(n))
	if err != nil {
		if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("Open: %v", err)
		}
		return
	}
	defer entry.Close()
	got, err := io.ReadAll(entry.Body)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("artifact %d: %d bytes, %v", n, len(got), err)
	}
}

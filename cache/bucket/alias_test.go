package bucket

import (
	"errors"
	"fmt"
	"testing"

	"k6x/cache"
	"k6x/cache/blob/blobtest"
	"k6x/cache/cachetest"
)

// Clients without a token can name what is stored in many ways. What binds these paths is bounded; that of its own path stays.
func TestAliasesAreBounded(t *testing.T) {
	const limit = 80
	s := Memory(Config{Aliases: limit})
	defer s.Close()
	alias := func(n, i int) string {
		return fmt.Sprintf("%s,example.com/other@v1.0.%d", cachetest.Recipe(n).Path(), i)
	}
	for n := range 2 {
		if _, err := s.Put(t.Context(), cachetest.Recipe(n), cachetest.Fill(cachetest.Bytes(uint64(n), 1000))); err != nil {
			t.Fatal(err)
		}
	}
	most := 0
	for i := range 3 * limit {
		for n := range 2 {
			if bound, err := s.Bind(t.Context(), alias(n, i), cachetest.Recipe(n).Key()); err != nil || bound != cachetest.Recipe(n).Key() {
				t.Fatal(bound, err)
			}
		}
		most = max(most, len(blobtest.Names(t, s.bucket, paths)))
	}
	if most > limit+limit/8+2+2 {
		t.Errorf("%d bindings at once", most)
	}
	if _, err := s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(blobtest.Names(t, s.bucket, paths)); got != limit+2 {
		t.Errorf("%d bindings, want %d", got, limit+2)
	}
	for n := range 2 {
		for path, want := range map[string]error{cachetest.Recipe(n).Path(): nil, alias(n, 3*limit-1): nil, alias(n, 0): cache.ErrNotFound} {
			if key, err := s.Lookup(t.Context(), path); !errors.Is(err, want) || err == nil && key != cachetest.Recipe(n).Key() {
				t.Errorf("%s: %s, %v; want %v", path, key, err, want)
			}
		}
	}
}

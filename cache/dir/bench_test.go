package dir

import (
	"os"
	"testing"

	"k6x/cache/cachetest"
)

func BenchmarkHit(b *testing.B) {
	s := mustOpen(b, Config{Dir: b.TempDir()})
	recipe := cachetest.Recipe(1)
	mustPut(b, s, 1, 50<<20)
	if _, err := s.Bind(b.Context(), recipe.Path(), recipe.Key()); err != nil {
		b.Fatal(err)
	}
	path := recipe.Path()
	b.ReportAllocs()
	for b.Loop() {
		key, err := s.Lookup(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		entry, err := s.Open(b.Context(), key)
		if err != nil {
			b.Fatal(err)
		}
		entry.Close()
	}
}

func BenchmarkPut(b *testing.B) {
	data := cachetest.Bytes(1, 50<<20)
	s := mustOpen(b, Config{Dir: b.TempDir(), Size: 200 << 20})
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if _, err := s.Put(b.Context(), cachetest.Recipe(n), cachetest.Fill(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenStore(b *testing.B) {
	const artifacts = 10_000
	dir := b.TempDir()
	mustPut(b, mustOpen(b, Config{Dir: dir}), 1, 1000)
	record, err := os.ReadFile((&Store{place: &place{dir: dir}}).record(key(1)))
	if err != nil {
		b.Fatal(err)
	}
	for n := range artifacts {
		key, s := cachetest.Recipe(n+2).Key(), &Store{place: &place{dir: dir}}
		if err := os.MkdirAll(s.home(key), 0o755); err != nil {
			b.Fatal(err)
		}
		for name, data := range map[string][]byte{s.record(key): record, s.binary(key): []byte("x")} {
			if err := os.WriteFile(name, data, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		s, err := Open(Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		if got := s.Stats().Artifacts; got != artifacts+1 {
			b.Fatalf("%d artifacts, want %d", got, artifacts+1)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

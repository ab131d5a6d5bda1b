package dir

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k6x"
	"k6x/cache/cachetest"
	"k6x/internal/disk"
)

func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wantTidy(t, s) })
	return s
}

// openWith opens a store whose steps on disk are asked about.
func openWith(t *testing.T, cfg Config, fault func(step, name string) error) *Store {
	t.Helper()
	s, err := open(cfg, disk.FS{Fault: fault})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wantTidy(t, s) })
	return s
}

// wantTidy closes a store and checks that no temporary file was left.
func wantTidy(t testing.TB, s *Store) {
	t.Helper()
	for _, name := range filesBelow(t, s.place.tmp) {
		if filepath.Base(name) != "lock" {
			t.Errorf("temporary file left: %s", name)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// filesBelow returns the names of all files and directories below root.
func filesBelow(t testing.TB, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		names = append(names, name)
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return names
}

func mustPut(t testing.TB, s *Store, n, size int) k6x.Artifact {
	t.Helper()
	artifact, err := s.Put(t.Context(), cachetest.Recipe(n), cachetest.Fill(cachetest.Bytes(uint64(n), size)))
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

func key(n int) string { return cachetest.Recipe(n).Key() }

// logTo returns a logger and what was logged with it.
func logTo() (*slog.Logger, *strings.Builder) {
	var out strings.Builder
	return slog.New(slog.NewTextHandler(&out, nil)), &out
}

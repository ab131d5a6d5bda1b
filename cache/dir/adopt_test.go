package dir

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/cache"
	"k6x/cache/cachetest"
)

// adoptFrom returns a fill whose file is name.
func adoptFrom(name string) func(io.Writer) (k6x.Build, error) {
	return func(w io.Writer) (k6x.Build, error) { return k6x.Build{}, w.(cache.Adopter).Adopt(name, "") }
}

func newFile(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "k6")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func skipWithoutAdopting(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be replaced")
	}
}

func TestAdoptOnAFullDiskLeavesNothingWhicheverStepFails(t *testing.T) {
	skipWithoutAdopting(t)
	put := func(s *Store) error {
		_, err := s.Put(t.Context(), cachetest.Recipe(1), adoptFrom(newFile(t, cachetest.Bytes(1, 100_000))))
		return err
	}
	steps := eachStep(t, func(*Store) {}, put, func(s *Store, step string, err error) {
		wantNoSpace(t, step, err)
		if _, err := s.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("after %s failed: Record: %v", step, err)
		}
		if err := put(s); err != nil {
			t.Errorf("after %s failed: Put with room again: %v", step, err)
		}
		wantBytes(t, s, 1, 100_000)
	})
	want := []string{"create", "adopt", "sync", // what is stored
		"create", "write", "sync", "mkdir", "syncdir", "rename", "syncdir", // the binding of its path
		"mkdir", "mkdir", "syncdir", "mkdir", "syncdir", "rename", "syncdir", // the binary, in two new directories
		"create", "write", "sync", "mkdir", "syncdir", "rename", "syncdir"} // the record
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps that can fail (-want +got):\n%s", diff)
	}
}

func TestAnAdoptedFileIsAProgramAndNotWhereItWas(t *testing.T) {
	skipWithoutAdopting(t)
	s := mustOpen(t, Config{Dir: t.TempDir()})
	name := newFile(t, cachetest.Bytes(1, 1000))
	if _, err := s.Put(t.Context(), cachetest.Recipe(1), adoptFrom(name)); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, s, 1, 1000)
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	if info, err := os.Stat(s.binary(key(1))); err != nil || info.Mode() != 0o755 {
		t.Errorf("in the store: %v, %v", info.Mode(), err)
	}
}

func TestAFileThatMayBeChangedByAnotherNameIsNotAdopted(t *testing.T) {
	skipWithoutAdopting(t)
	s := mustOpen(t, Config{Dir: t.TempDir()})
	linked, file := newFile(t, []byte("one")), newFile(t, []byte("two"))
	if err := os.Link(linked, linked+".2"); err != nil {
		t.Fatal(err)
	}
	symlink := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, symlink); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{linked, symlink, t.TempDir(), filepath.Join(t.TempDir(), "nothing")} {
		if _, err := s.Put(t.Context(), cachetest.Recipe(1), adoptFrom(name)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
	for _, name := range []string{linked, file} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}

func TestAnAdoptedFileIsBounded(t *testing.T) {
	skipWithoutAdopting(t)
	s := mustOpen(t, Config{Dir: t.TempDir(), Size: 1000})
	for size, want := range map[int]k6x.Kind{1001: k6x.NoSpace, 0: k6x.Internal} {
		if _, err := s.Put(t.Context(), cachetest.Recipe(1), adoptFrom(newFile(t, cachetest.Bytes(1, size)))); k6x.KindOf(err) != want {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestEvictedBytesAreAdoptedAgainIfTheyAreTheSame(t *testing.T) {
	skipWithoutAdopting(t)
	s := mustOpen(t, Config{Dir: t.TempDir(), Size: 250_000})
	for n := range 3 {
		mustPut(t, s, n, 100_000)
	}
	_, err := s.Put(t.Context(), cachetest.Recipe(0), adoptFrom(newFile(t, cachetest.Bytes(7, 100_000))))
	if k6x.KindOf(err) != k6x.Internal || !strings.Contains(err.Error(), "did not give the bytes") {
		t.Errorf("other bytes: %v", err)
	}
	if _, err := s.Put(t.Context(), cachetest.Recipe(0), adoptFrom(newFile(t, cachetest.Bytes(0, 100_000)))); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, s, 0, 100_000)
}

func TestNothingIsWrittenBehindAnAdoptedFile(t *testing.T) {
	skipWithoutAdopting(t)
	s := mustOpen(t, Config{Dir: t.TempDir()})
	_, err := s.Put(t.Context(), cachetest.Recipe(1), func(w io.Writer) (k6x.Build, error) {
		if err := w.(cache.Adopter).Adopt(newFile(t, []byte("binary")), ""); err != nil {
			t.Error(err)
		}
		_, _ = w.Write([]byte("more"))
		return k6x.Build{}, nil
	})
	if err == nil {
		t.Error("it is stored")
	}
	if _, err := s.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Record: %v", err)
	}
}

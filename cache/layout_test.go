package cache_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k6x"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/cachetest"
	"k6x/cache/dir"
	"k6x/cache/objects"
)

var writeLayout = flag.Bool("write-layout", false, "write the stores below testdata/layout anew, with the program of now")

// The stores below testdata/layout were written by the first release. What they name stays what they name:
// three artifacts with the paths that are bound to them, the second of them evicted, and a log, in a directory; the same in
// a bucket; an object of the store server.
const layout = "../testdata/layout"

func TestStoresOfTheFirstReleaseAreReadAsTheyAre(t *testing.T) {
	if *writeLayout {
		writeStores(t)
	}
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(layout)); err != nil {
		t.Fatal(err)
	}
	for name, open := range openers(root) {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second finds what the first left
				store, end := open(t)
				readStore(t, store)
				end()
			}
		})
	}
	t.Run("logs", func(t *testing.T) {
		logs, err := cache.OpenLogs(filepath.Join(root, "logs"), 10, 1024)
		if err != nil {
			t.Fatal(err)
		}
		if got := readLog(t, logs, 1); got != "it.go:3: syntax error\n" {
			t.Errorf("the log reads %q", got)
		}
	})
	t.Run("objects", func(t *testing.T) {
		store, err := objects.Open(objects.Config{Dir: filepath.Join(root, "objects")})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		body, object, err := store.Open(t.Context(), "some-id")
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		if data, err := io.ReadAll(body); err != nil || !bytes.Equal(data, cachetest.Bytes(9, 900)) || object.Size != 900 {
			t.Errorf("%+v with %d bytes, %v", object, len(data), err)
		}
	})
}

func openers(root string) map[string]func(t *testing.T) (cache.Store, func()) {
	return map[string]func(t *testing.T) (cache.Store, func()){
		"directory": func(t *testing.T) (cache.Store, func()) {
			s, err := dir.Open(dir.Config{Dir: filepath.Join(root, "store")})
			if err != nil {
				t.Fatal(err)
			}
			return s, func() { s.Close() }
		},
		"bucket": func(t *testing.T) (cache.Store, func()) {
			at, err := filepath.Abs(filepath.Join(root, "bucket"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := bucket.Open(t.Context(), bucket.Config{URL: "file://" + filepath.ToSlash(at)})
			if err != nil {
				t.Fatal(err)
			}
			return s, func() { s.Close() }
		},
	}
}

// layoutBytes has the bytes of the n-th artifact.
func layoutBytes(n int) []byte { return cachetest.Bytes(uint64(n), 1000+n) }

func readStore(t *testing.T, store cache.Store) {
	t.Helper()
	for n := 1; n <= 3; n++ {
		recipe := cachetest.Recipe(n)
		key, err := store.Lookup(t.Context(), recipe.Path())
		if err != nil || key != recipe.Key() {
			t.Errorf("the path of artifact %d is bound to %q, %v", n, key, err)
		}
		artifact, err := store.Record(t.Context(), recipe.Key())
		if err != nil || artifact.Size != int64(1000+n) || artifact.Build.Lock.GoMod != "module k6\n" {
			t.Errorf("the record of artifact %d: %+v, %v", n, artifact, err)
		}
		entry, err := store.Open(t.Context(), recipe.Key())
		if n == 2 {
			if !errors.Is(err, cache.ErrEvicted) {
				t.Errorf("the evicted artifact: %v", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("artifact %d: %v", n, err)
			continue
		}
		data, err := io.ReadAll(entry.Body)
		entry.Close()
		if err != nil || !bytes.Equal(data, layoutBytes(n)) {
			t.Errorf("artifact %d has %d bytes, %v", n, len(data), err)
		}
	}
	// What is evicted may come back as the same bytes only.
	recipe := cachetest.Recipe(2)
	if _, err := store.Put(t.Context(), recipe, cachetest.Fill([]byte("other bytes"))); k6x.KindOf(err) != k6x.Internal {
		t.Errorf("other bytes in place of evicted ones: %v", err)
	}
}

func writeStores(t *testing.T) {
	if err := os.RemoveAll(layout); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(layout, "bucket"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, open := range openers(layout) {
		store, end := open(t)
		for n := 1; n <= 3; n++ {
			recipe := cachetest.Recipe(n)
			artifact, err := store.Put(t.Context(), recipe, cachetest.Fill(layoutBytes(n)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Bind(t.Context(), recipe.Path(), recipe.Key()); err != nil {
				t.Fatal(err)
			}
			if n == 2 {
				key := recipe.Key()
				file := filepath.Join(layout, "store", "artifacts", key[:2], key, "binary")
				if name == "bucket" {
					file = filepath.Join(layout, "bucket", "artifacts", key, artifact.Digest)
				}
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		}
		end()
	}
	logs, err := cache.OpenLogs(filepath.Join(layout, "logs"), 10, 1024)
	if err != nil {
		t.Fatal(err)
	}
	if err := logs.Put(logKey(1), "it.go:3: syntax error\n"); err != nil {
		t.Fatal(err)
	}
	store, err := objects.Open(objects.Config{Dir: filepath.Join(layout, "objects")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Put(t.Context(), "some-id", bytes.NewReader(cachetest.Bytes(9, 900))); err != nil {
		t.Fatal(err)
	}
}

package cachetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"k6x"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/cache/tier"
)

// opener opens an empty store with a limit in bytes (0: none) and a clock.
type opener func(t *testing.T, limit int64, clock func() time.Time) cache.Store

// Each store keeps the contract of [cache.Store]. To add a store, add how to open it; to add a case, a function of a store and what it shows.
func TestStoresKeepTheContract(t *testing.T) {
	tests := map[string]func(*testing.T, cache.Store){
		"an unknown key or path is not found":                unknown,
		"a bad key or path is invalid":                       badNames,
		"what was put can be opened":                         putAndOpen,
		"large pieces arrive whole":                          largePieces,
		"a second put keeps the first":                       secondPut,
		"a put that is overtaken keeps the first":            overtakenPut,
		"of puts at once one wins":                           concurrentPuts,
		"a file can be put where the store takes files":      filePut,
		"a fill that fails half-way leaves nothing":          failingFill,
		"a fill that writes nothing is refused":              emptyFill,
		"a canceled context leaves nothing":                  canceled,
		"a path is bound once":                               bindOnce,
		"of bindings at once one wins":                       concurrentBinds,
		"a path is not bound to a key without a record":      bindUnknown,
		"a put binds its path unless it should not":          putBinds,
		"of puts at once for one path one is bound":          concurrentPutsBind,
		"several readers read at once and for themselves":    severalReaders,
		"records do not share memory with their callers":     recordsAreCopies,
		"artifacts of different recipes do not get mixed up": manyArtifacts,
	}
	for kind, open := range stores {
		t.Run(kind, func(t *testing.T) {
			for name, test := range tests {
				t.Run(name, func(t *testing.T) { test(t, open(t, 0, nil)) })
			}
		})
	}
}

// stores are those that keep the contract, by kind.
var stores = map[string]opener{
	"a bucket in memory":             inBucket(func(*testing.T) string { return "mem://" }),
	"a bucket in memory without MD5": inBucket(func(*testing.T) string { return "mem://?nomd5=1&prefix=k6x/binaries" }),
	"a bucket in a directory":        inBucket(func(t *testing.T) string { return "file://" + filepath.ToSlash(t.TempDir()) }),
	"S3":                             inBucket(func(t *testing.T) string { return serveS3(t) }),
	"S3 below a prefix":              inBucket(func(t *testing.T) string { return serveS3(t) + "&prefix=some/place" }),
	"memory":                         inMemory,
	"a directory":                    inDir,
	"a directory in front of a bucket": func(t *testing.T, limit int64, clock func() time.Time) cache.Store {
		remote := inBucket(func(*testing.T) string { return "mem://" })(t, 0, nil)
		return tier.New(inDir(t, limit, clock).(*dir.Store), remote.(*bucket.Store), nil)
	},
}

func inBucket(url func(t *testing.T) string) opener {
	return func(t *testing.T, _ int64, _ func() time.Time) cache.Store {
		s, err := bucket.Open(t.Context(), bucket.Config{URL: url(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

func inMemory(_ *testing.T, limit int64, clock func() time.Time) cache.Store {
	return bucket.Memory(bucket.Config{Size: limit, Clock: clock})
}

// inDir opens a store of which no temporary file is left in the end.
func inDir(t *testing.T, limit int64, clock func() time.Time) cache.Store {
	where := t.TempDir()
	s, err := dir.Open(dir.Config{Dir: where, Size: limit, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := filepath.Glob(filepath.Join(where, "tmp", "*", "*"))
		if len(left) != 1 || filepath.Base(left[0]) != "lock" || err != nil {
			t.Errorf("temporary files left: %q, %v", left, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// serveS3 returns the URL of a bucket of a server of S3 in this process.
func serveS3(t *testing.T) string {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return "s3://bucket?region=us-east-1&s3ForcePathStyle=true&endpoint=" + server.URL
}

func put(t *testing.T, s cache.Store, recipe k6x.Recipe, data []byte) k6x.Artifact {
	t.Helper()
	artifact, err := s.Put(t.Context(), recipe, Fill(data))
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return artifact
}

func read(t *testing.T, s cache.Store, key string) []byte {
	t.Helper()
	entry, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer entry.Close()
	data, err := io.ReadAll(entry.Body)
	if err != nil {
		t.Fatalf("read the body: %v", err)
	}
	return data
}

func wantBytes(t *testing.T, s cache.Store, key string, want []byte) {
	t.Helper()
	if got := read(t, s, key); !bytes.Equal(got, want) {
		t.Errorf("got other bytes (%d) than were put (%d)", len(got), len(want))
	}
}

func wantRecord(t *testing.T, s cache.Store, key string, want k6x.Artifact) {
	t.Helper()
	got, err := s.Record(t.Context(), key)
	if err != nil {
		t.Fatalf("Record: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record differs (-want +got):\n%s", diff)
	}
	if whole, err := s.Whole(t.Context(), key); err == nil && cmp.Diff(want, whole) != "" || err != nil && !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("Whole: %+v, %v", whole, err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func wantKind(t *testing.T, what string, err error, want k6x.Kind) {
	t.Helper()
	if err == nil || k6x.KindOf(err) != want {
		t.Errorf("%s: got error %v (%v), want kind %v", what, err, k6x.KindOf(err), want)
	}
}

// wantNothing checks that nothing is known of recipe, and that it can be put.
func wantNothing(t *testing.T, s cache.Store, recipe k6x.Recipe) {
	t.Helper()
	_, err := s.Open(t.Context(), recipe.Key())
	wantError(t, "Open", err, cache.ErrNotFound)
	_, err = s.Record(t.Context(), recipe.Key())
	wantError(t, "Record", err, cache.ErrNotFound)
	data := Bytes(77, 5000)
	put(t, s, recipe, data)
	wantBytes(t, s, recipe.Key(), data)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func unknown(t *testing.T, s cache.Store) {
	key := Recipe(1).Key()
	_, err := s.Open(t.Context(), key)
	wantError(t, "Open", err, cache.ErrNotFound)
	_, err = s.Record(t.Context(), key)
	wantError(t, "Record", err, cache.ErrNotFound)
	_, err = s.Whole(t.Context(), key)
	wantError(t, "Whole", err, cache.ErrNotFound)
	_, err = s.Lookup(t.Context(), "/linux/amd64/k6@v1.8.1")
	wantError(t, "Lookup", err, cache.ErrNotFound)
}

func badNames(t *testing.T, s cache.Store) {
	put(t, s, Recipe(1), []byte("binary"))
	good := Recipe(1).Key()
	for _, key := range []string{"", "x", "../" + good[3:], strings.ToUpper(good), good + "0", good[:63] + "\n", good[:62] + "/0"} {
		_, err := s.Open(t.Context(), key)
		wantKind(t, fmt.Sprintf("Open %q", key), err, k6x.Invalid)
		_, err = s.Record(t.Context(), key)
		wantKind(t, fmt.Sprintf("Record %q", key), err, k6x.Invalid)
		_, err = s.Whole(t.Context(), key)
		wantKind(t, fmt.Sprintf("Whole %q", key), err, k6x.Invalid)
		_, err = s.Bind(t.Context(), "/linux/amd64/k6@v1.8.1", key)
		wantKind(t, fmt.Sprintf("Bind %q", key), err, k6x.Invalid)
	}
	for _, path := range []string{"", "/", "k6@v1.8.1", "/" + strings.Repeat("x", 1<<20)} {
		_, err := s.Bind(t.Context(), path, good)
		wantKind(t, "Bind of a bad path", err, k6x.Invalid)
		_, err = s.Lookup(t.Context(), path)
		wantKind(t, "Lookup of a bad path", err, k6x.Invalid)
	}
}

func putAndOpen(t *testing.T, s cache.Store) {
	recipe, data := Recipe(1), Bytes(1, 300_000)
	before := time.Now().Add(-time.Second)
	artifact := put(t, s, recipe, data)
	if artifact.Digest != digest(data) || artifact.Size != int64(len(data)) || artifact.Path != recipe.Path() {
		t.Errorf("record says digest %s, size %d, path %s", artifact.Digest, artifact.Size, artifact.Path)
	}
	if s := artifact.Stored; s.Location() != time.UTC || s.Nanosecond() != 0 || s.Before(before) || s.After(time.Now()) {
		t.Errorf("stored at %v, want now in whole seconds UTC", s)
	}
	if diff := cmp.Diff(recipe, artifact.Recipe); diff != "" {
		t.Errorf("recipe differs (-want +got):\n%s", diff)
	}
	if artifact.Build.Lock != build().Lock || len(artifact.Build.BuildList) != 1 {
		t.Errorf("record lost what fill returned: %+v", artifact.Build)
	}
	wantRecord(t, s, recipe.Key(), artifact)

	entry, err := s.Open(t.Context(), recipe.Key())
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	if entry.Key != recipe.Key() || entry.Digest != artifact.Digest || entry.Size != artifact.Size ||
		!entry.Stored.Equal(artifact.Stored) || entry.Platform != recipe.Platform {
		t.Errorf("entry %+v does not fit the record %+v", entry, artifact)
	}
	if _, err := entry.Body.Seek(-10, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	tail, err := io.ReadAll(entry.Body)
	if err != nil || !bytes.Equal(tail, data[len(data)-10:]) {
		t.Errorf("after Seek: %x, %v", tail, err)
	}
	wantBytes(t, s, recipe.Key(), data)
}

func largePieces(t *testing.T, s cache.Store) {
	data := Bytes(2, 3<<20+17)
	_, err := s.Put(t.Context(), Recipe(1), func(w io.Writer) (k6x.Build, error) {
		if _, err := w.Write(data[:1<<20]); err != nil {
			return k6x.Build{}, err
		}
		_, err := io.Copy(w, bytes.NewReader(data[1<<20:]))
		return build(), err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, s, Recipe(1).Key(), data)
}

func severalReaders(t *testing.T, s cache.Store) {
	data := Bytes(3, 200_000)
	put(t, s, Recipe(1), data)
	var entries []*cache.Entry
	for range 4 {
		entry, err := s.Open(t.Context(), Recipe(1).Key())
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	for i, entry := range entries {
		got, err := io.ReadAll(entry.Body)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("reader %d: %d bytes, %v", i, len(got), err)
		}
		if err := entry.Close(); err != nil {
			t.Error(err)
		}
		if err := entry.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
}

func recordsAreCopies(t *testing.T, s cache.Store) {
	want := put(t, s, Recipe(1), []byte("binary"))
	first, err := s.Record(t.Context(), Recipe(1).Key())
	if err != nil {
		t.Fatal(err)
	}
	first.Recipe.Flags[0], first.Build.BuildList[0].Version = "changed", "changed"
	wantRecord(t, s, Recipe(1).Key(), want)
}

func manyArtifacts(t *testing.T, s cache.Store) {
	for n := range 20 {
		put(t, s, Recipe(n), Bytes(uint64(n), 1000+n))
	}
	for n := range 20 {
		wantBytes(t, s, Recipe(n).Key(), Bytes(uint64(n), 1000+n))
	}
}

// canceledContext returns a context that is over.
func canceledContext(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

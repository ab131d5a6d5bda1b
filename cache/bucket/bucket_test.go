package bucket

import (
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"k6x"
	"k6x/cache/cachetest"
)

func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fakeS3 is a server of S3 in this process with one bucket.
type fakeS3 struct {
	backend *s3mem.Backend
	server  *httptest.Server
}

func newS3(t testing.TB) *fakeS3 {
	t.Helper()
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
	return &fakeS3{backend, server}
}

// url returns the URL of a store in the bucket.
func (f *fakeS3) url(more string) string { return urlAt(f.server.URL) + more }

func urlAt(endpoint string) string {
	return "s3://bucket?region=us-east-1&s3ForcePathStyle=true&endpoint=" + endpoint
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

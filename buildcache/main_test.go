package buildcache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"k6x/cache/blob/blobtest"
)

// The program of the tests is the GOCACHEPROG of the go commands that they run, and a process to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "gocacheprog" {
		if err := Relay(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "put-forever" {
		putForever(os.Args[2])
	}
	os.Exit(m.Run())
}

const testScope = "go1.26.8-linux-amd64"

func newCache(t *testing.T, cfg Config) *Cache {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Wait = cmp.Or(cfg.Wait, time.Minute) // this machine may be slow
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(c) })
	return c
}

// finish closes a cache and waits for what it sends.
func finish(c *Cache) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.Close(ctx)
}

func start(t *testing.T, c *Cache, label string) *Session {
	t.Helper()
	s, err := c.Start(Build{Scope: testScope, Label: label})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Ahead()
	return s
}

func openStore(t *testing.T, url string) Store {
	t.Helper()
	s, err := OpenStore(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// eachStore runs a test on an empty store of each kind.
func eachStore(t *testing.T, test func(t *testing.T, remote Store)) {
	t.Run("mem", func(t *testing.T) { test(t, openStore(t, "mem://")) })
	t.Run("file", func(t *testing.T) { test(t, openStore(t, "file://"+t.TempDir()+"?prefix=go")) })
	t.Run("oci", func(t *testing.T) { test(t, openStore(t, startRegistry(t))) })
	t.Run("offered", func(t *testing.T) { test(t, newOffered(t, openStore(t, "file://"+t.TempDir()))) })
	t.Run("docker-registry", func(t *testing.T) { test(t, openStore(t, "oci://"+blobtest.Registry(t)+"/k6x/go")) })
}

func startRegistry(t *testing.T) (url string) {
	server := httptest.NewServer(ociregistry.New(ociregistry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(server.Close)
	return "oci://" + strings.TrimPrefix(server.URL, "http://") + "/k6x/go"
}

// sample is an action with its output.
type sample struct {
	action, output ID
	body           string
}

func makeSample(name string, size int) sample {
	body := strings.Repeat(name+" ", size/(len(name)+1)+1)[:size]
	return sample{sha256.Sum256([]byte("action " + name)), sha256.Sum256([]byte(body)), body}
}

func put(t *testing.T, s *Session, samples ...sample) {
	t.Helper()
	for _, x := range samples {
		if _, err := s.Put(t.Context(), x.action, x.output, int64(len(x.body)), strings.NewReader(x.body)); err != nil {
			t.Fatal(err)
		}
	}
}

// has reports whether the session gives the sample; what it gives has to be right.
func has(t *testing.T, s *Session, x sample) bool {
	t.Helper()
	e, err := s.Get(t.Context(), x.action)
	if err != nil {
		return false
	}
	body, err := os.ReadFile(e.Path)
	if err != nil {
		t.Fatal(err)
	}
	if e.Output != x.output || e.Size != int64(len(x.body)) || string(body) != x.body {
		t.Fatalf("got %v of %d bytes for %v of %d", e.Output, len(body), x.output, len(x.body))
	}
	return true
}

func want(t *testing.T, s *Session, samples ...sample) {
	t.Helper()
	for _, x := range samples {
		if !has(t, s, x) {
			t.Fatalf("a miss of %.20q", x.body)
		}
	}
}

// fill stores samples in the remote level by way of another cache.
func fill(t *testing.T, remote Store, label string, samples ...sample) {
	t.Helper()
	c := newCache(t, Config{Remote: remote})
	s := start(t, c, label)
	<-s.scope.ready // else the end of the cache may come before the indexes are read, and what is there is sent again
	put(t, s, samples...)
	s.Close()
	finish(c)
	if n := c.Stats(); n.Dropped != 0 || n.WriteFailures != 0 {
		t.Fatalf("%+v", n)
	}
}

func names(t *testing.T, remote Store, prefix string) []string {
	t.Helper()
	list, err := listNames(t.Context(), remote, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func read(t *testing.T, remote Store, name string) []byte {
	t.Helper()
	r, err := remote.Read(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

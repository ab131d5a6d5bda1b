package service_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/event"
	"k6x/service"
)

// lines makes binaries that can be compressed.
type lines struct{}

func (lines) Build(_ context.Context, job builder.Job, _ event.Sink, w io.Writer) (k6x.Build, error) {
	fmt.Fprintln(w, job.Recipe.List())
	for n := range 20_000 {
		if _, err := fmt.Fprintf(w, "%s %d\n", job.Recipe.Platform, n); err != nil {
			return k6x.Build{}, err
		}
	}
	return k6x.Build{}, nil
}

// compressing returns a server of binaries that can be compressed, in store.
func compressing(t *testing.T, store cache.Store, codings ...string) (*httptest.Server, *service.Service) {
	t.Helper()
	return newServer(t, parts{config: service.Config{Store: store, Compress: codings}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(lines{}, store, nil)
	}})
}

// compress runs what makes compressed forms until the test ends.
func compress(t *testing.T, s *service.Service) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Compress(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// inCoding asks until the answer has a coding, and returns it.
func inCoding(t *testing.T, url, coding string) (*http.Response, []byte) {
	t.Helper()
	for {
		resp, body := do(t, "GET", url, "Accept-Encoding: "+coding)
		if resp.StatusCode != 200 || resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Fatalf("%s, Vary %q", resp.Status, resp.Header.Get("Vary"))
		}
		if resp.Header.Get("Content-Encoding") == coding {
			return resp, body
		}
	}
}

func decoded(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	var r io.Reader
	var err error
	if r, err = gzip.NewReader(bytes.NewReader(body)); coding == "zstd" {
		r, err = zstd.NewReader(bytes.NewReader(body))
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestACompressedFormIsARepresentationOfItsOwn(t *testing.T) {
	for _, coding := range []string{"zstd", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			store, err := dir.Open(dir.Config{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			server, s := compressing(t, store, coding)
			url := server.URL + helloPath
			plain, binary := do(t, "GET", url, "Accept-Encoding: "+coding)
			if plain.Header.Get("Content-Encoding") != "" || plain.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("the first answer has %v", plain.Header)
			}
			const year, hour = "public, max-age=31536000, immutable", "public, max-age=3600"
			for _, c := range []struct{ accept, tag, want string }{
				{coding, "", hour}, {coding, plain.Header.Get("Etag"), hour}, {"identity", "", year}, {"identity", plain.Header.Get("Etag"), year}, {"br", "", year},
			} {
				resp, _ := do(t, "GET", url, "Accept-Encoding: "+c.accept, "If-None-Match: "+c.tag)
				if got := resp.Header.Get("Cache-Control"); got != c.want {
					t.Errorf("%s before there is a form: Cache-Control %q, want %q", c.accept, got, c.want)
				}
			}
			compress(t, s)
			resp, body := inCoding(t, url, coding)
			if !bytes.Equal(decoded(t, coding, body), binary) || len(body) > len(binary)/2 {
				t.Errorf("%d bytes of %d", len(body), len(binary))
			}
			raw := sha256.Sum256(body)
			tag := resp.Header.Get("Etag")
			for name, want := range map[string]string{
				"Etag": `"` + hexDigest(body) + `"`, "Content-Length": strconv.Itoa(len(body)), "Accept-Ranges": "bytes",
				"Repr-Digest":         "sha-256=:" + base64.StdEncoding.EncodeToString(raw[:]) + ":",
				"Content-Disposition": `attachment; filename="k6"`, "Cache-Control": "public, max-age=31536000, immutable",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
			}
			accept := "Accept-Encoding: " + coding
			for _, c := range []struct {
				what, method string
				headers      []string
				status       int
				coding       string
				body         []byte
			}{
				{"one that wants the bytes as they are", "GET", []string{"Accept-Encoding: identity"}, 200, "", binary},
				{"HEAD", "HEAD", []string{accept}, 200, coding, nil},
				{"a range", "GET", []string{accept, "Range: bytes=10-29"}, 206, coding, body[10:30]},
				{"a range of the bytes as they are", "GET", []string{"Accept-Encoding: identity", "Range: bytes=10-29"}, 206, "", binary[10:30]},
				{"the rest", "GET", []string{accept, "Range: bytes=100-", "If-Range: " + tag}, 206, coding, body[100:]},
				{"the rest of what was begun before", "GET", []string{accept, "Range: bytes=100-", "If-Range: " + plain.Header.Get("Etag")}, 206, "", binary[100:]},
				{"the rest of something else", "GET", []string{accept, "Range: bytes=100-", `If-Range: "x"`}, 200, coding, body},
				{"who has it", "GET", []string{accept, "If-None-Match: " + tag}, 304, "", nil},
				{"a cache that has had it uncompressed", "GET", []string{accept, "If-None-Match: " + plain.Header.Get("Etag")}, 200, coding, body},
				{"who has it uncompressed and wants it so", "GET", []string{"Accept-Encoding: identity", "If-None-Match: " + plain.Header.Get("Etag")}, 304, "", nil},
				{"who has it compressed and wants it as it is", "GET", []string{"Accept-Encoding: identity", "If-None-Match: " + tag}, 200, "", binary},
				{"beyond the end", "GET", []string{accept, "Range: bytes=" + strconv.Itoa(len(body)) + "-"}, 416, "", nil},
			} {
				resp, got := do(t, c.method, url, c.headers...)
				if resp.StatusCode != c.status || resp.Header.Get("Content-Encoding") != c.coding || c.status < 400 && !bytes.Equal(got, c.body) {
					t.Errorf("%s: %s in %q with %d bytes", c.what, resp.Status, resp.Header.Get("Content-Encoding"), len(got))
				}
				if c.status < 400 && resp.Header.Get("Vary") != "Accept-Encoding" {
					t.Errorf("%s: Vary %q", c.what, resp.Header.Get("Vary"))
				}
				if c.method == "HEAD" && resp.ContentLength != int64(len(body)) {
					t.Errorf("HEAD says %d bytes", resp.ContentLength)
				}
			}
		})
	}
}

// The client of k6 asks for gzip unasked, and compares the checksum with what it decodes.
func TestAStockClientDecodesWhatItIsSent(t *testing.T) {
	server, s := compressing(t, bucket.Memory(bucket.Config{}), "zstd", "gzip")
	compress(t, s)
	_, binary := do(t, "GET", server.URL+helloPath, "Accept-Encoding: identity")
	inCoding(t, server.URL+helloPath, "gzip")
	resp, err := http.Get(server.URL + helloPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !resp.Uncompressed || !bytes.Equal(body, binary) {
		t.Errorf("%d bytes, decoded %t, %v", len(body), resp.Uncompressed, err)
	}
	silent := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer silent.CloseIdleConnections()
	if resp, err = silent.Get(server.URL + helloPath); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(body, binary) {
		t.Errorf("a client that says nothing of codings gets %d bytes, %v", len(body), err)
	}
}

// spoilt is a store in which things happen to what is compressed.
type spoilt struct {
	cache.Store
	puts    atomic.Int64
	evicted atomic.Bool // nothing that was compressed is there
	damaged atomic.Bool // a binary does not have the bytes of its digest
	cut     atomic.Bool // it is a file that has no bytes any more
	keys    chan string // of what was put
}

func (s *spoilt) Put(ctx context.Context, r k6x.Recipe, fill func(io.Writer) (k6x.Build, error), options ...cache.PutOption) (k6x.Artifact, error) {
	s.puts.Add(1)
	artifact, err := s.Store.Put(ctx, r, fill, options...)
	select {
	case s.keys <- r.Key():
	default:
	}
	return artifact, err
}

func (s *spoilt) Open(ctx context.Context, key string) (*cache.Entry, error) {
	entry, err := s.Store.Open(ctx, key)
	if err == nil && s.evicted.Load() && entry.Size < 150_000 {
		return nil, cache.ErrEvicted
	}
	if err == nil && s.damaged.Load() {
		entry.Body = bytes.NewReader(make([]byte, entry.Size))
	}
	if err == nil && s.cut.Load() {
		file, err := os.CreateTemp("", "cut-")
		if err != nil {
			return nil, err
		}
		entry.Body, entry.Release = file, func() {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}
	return entry, err
}

func TestNothingWaitsForACompressedForm(t *testing.T) {
	store := &spoilt{Store: bucket.Memory(bucket.Config{})}
	server, _ := compressing(t, store, "zstd") // and nobody makes it
	for range 3 {
		if resp, _ := do(t, "GET", server.URL+helloPath, "Accept-Encoding: zstd"); resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s in %q", resp.Status, resp.Header.Get("Content-Encoding"))
		}
	}
	if n := store.puts.Load(); n != 1 {
		t.Errorf("%d things were stored", n)
	}
}

func TestAnEvictedFormIsMadeAnew(t *testing.T) {
	store := &spoilt{Store: bucket.Memory(bucket.Config{})}
	server, s := compressing(t, store, "zstd")
	compress(t, s)
	first, _ := inCoding(t, server.URL+helloPath, "zstd")
	store.evicted.Store(true)
	if resp, _ := do(t, "GET", server.URL+helloPath, "Accept-Encoding: zstd"); resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("%s in %q", resp.Status, resp.Header.Get("Content-Encoding"))
	}
	store.evicted.Store(false)
	if again, _ := inCoding(t, server.URL+helloPath, "zstd"); again.Header.Get("Etag") != first.Header.Get("Etag") {
		t.Error("it is another one")
	}
}

func TestADamagedBinaryIsNotCompressed(t *testing.T) {
	store := &spoilt{Store: bucket.Memory(bucket.Config{}), keys: make(chan string, 2)}
	server, s := compressing(t, store, "zstd")
	do(t, "GET", server.URL+helloPath, "Accept-Encoding: zstd")
	<-store.keys
	store.damaged.Store(true)
	compress(t, s)
	if _, err := store.Record(t.Context(), <-store.keys); err == nil {
		t.Error("it was stored")
	}
}

func TestWhatIsNotCompressedDoesNotVary(t *testing.T) {
	server, _ := compressing(t, bucket.Memory(bucket.Config{}))
	if resp, _ := do(t, "GET", server.URL+helloPath, "Accept-Encoding: zstd"); resp.Header.Get("Vary") != "" {
		t.Errorf("Vary: %s", resp.Header.Get("Vary"))
	}
}

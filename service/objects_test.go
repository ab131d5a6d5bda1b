package service_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k6x/cache/objects"
	"k6x/service"
)

// newObjects serves objects from a directory.
func newObjects(t testing.TB, store objects.Config, cfg service.ObjectsConfig) (*httptest.Server, *objects.Store) {
	t.Helper()
	if store.Dir == "" {
		store.Dir = t.TempDir()
	}
	s, err := objects.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	cfg.Store = s
	server := httptest.NewServer(service.NewObjects(cfg))
	t.Cleanup(server.Close)
	return server, s
}

// Each answer of the store API, as it stands on the wire.
func TestObjectAnswersOnTheWire(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := service.LoadTokens(tokens)
	if err != nil {
		t.Fatal(err)
	}
	open, _ := newObjects(t, objects.Config{MaxObject: 1000, Size: 1500}, service.ObjectsConfig{})
	guarded, _ := newObjects(t, objects.Config{}, service.ObjectsConfig{Tokens: loaded})
	external, err := url.Parse("https://store.example.com/k6")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, _ := newObjects(t, objects.Config{}, service.ObjectsConfig{DownloadURL: external})
	const etag = `"9a96b9ba71af5be1bfa1c3bd10ec2ea4fe0d5af2f5c2a3ee4c15fc5c2bb1bc6d"`
	for _, c := range []struct {
		name, method, url, body string
		headers                 []string
	}{
		{"200-stored", "POST", open.URL + "/store/one", "the body", nil},
		{"200-duplicate", "PUT", open.URL + "/store/one", "another", nil},
		{"200-put", "PUT", open.URL + "/store/two", strings.Repeat("2", 900), nil},
		{"200-described", "GET", open.URL + "/store/one", "", nil},
		{"200-head", "HEAD", open.URL + "/store/one", "", nil},
		{"200-download", "GET", open.URL + "/store/one/download", "", nil},
		{"200-download-head", "HEAD", open.URL + "/store/one/download", "", nil},
		{"206-range", "GET", open.URL + "/store/one/download", "", []string{"Range: bytes=2-4"}},
		{"200-if-range", "GET", open.URL + "/store/one/download", "", []string{"Range: bytes=2-4", "If-Range: " + etag}},
		{"416-range", "GET", open.URL + "/store/one/download", "", []string{"Range: bytes=100-"}},
		{"412-if-match", "GET", open.URL + "/store/one/download", "", []string{"If-Match: " + etag}},
		{"404-object", "GET", open.URL + "/store/unknown", "", nil},
		{"404-download", "GET", open.URL + "/store/unknown/download", "", nil},
		{"404-page", "GET", open.URL + "/nothing", "", nil},
		{"400-id", "POST", open.URL + "/store/%2e%2e%2fetc", "x", nil},
		{"400-id-get", "GET", open.URL + "/store/.hidden", "", nil},
		{"405-object", "DELETE", open.URL + "/store/one", "", nil},
		{"405-download", "POST", open.URL + "/store/one/download", "x", nil},
		{"413-announced", "POST", open.URL + "/store/big", strings.Repeat("x", 1001), nil},
		{"507-full", "POST", open.URL + "/store/three", strings.Repeat("x", 700), nil},
		{"200-alive", "GET", open.URL + "/alive", "", nil},
		{"403-other-origin", "POST", open.URL + "/store/one", "x", []string{"Sec-Fetch-Site: cross-site"}},
		{"401-token", "POST", guarded.URL + "/store/one", "x", []string{"Authorization: Bearer wrong"}},
		{"200-token", "POST", guarded.URL + "/store/one", "x", []string{"Authorization: Bearer secret"}},
		{"200-open-read", "GET", guarded.URL + "/store/one", "", nil},
		{"200-download-url", "POST", elsewhere.URL + "/store/one", "x", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := send(t, c.method, c.url, strings.NewReader(c.body), c.headers...)
			if !strings.HasPrefix(c.name, resp.Status[:3]) {
				t.Errorf("%s", resp.Status)
			}
			golden(t, "objects-"+c.name, wire(resp, body))
		})
	}
	resp, _ := do(t, "GET", open.URL+"/store/one/download")
	if again, _ := do(t, "GET", open.URL+"/store/one/download", "If-None-Match: "+resp.Header.Get("Etag")); again.StatusCode != 304 {
		t.Errorf("If-None-Match: %s", again.Status)
	}
	if resp, body := do(t, "GET", open.URL+"/store/one/download"); string(body) != "the body" {
		t.Errorf("%s: %q", resp.Status, body)
	}
}

// An upload of unknown length is cut at the limit.
func TestUploadThatDoesNotSayHowLargeItIs(t *testing.T) {
	server, store := newObjects(t, objects.Config{MaxObject: 1 << 20}, service.ObjectsConfig{})
	resp, body := send(t, "POST", server.URL+"/store/big", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1<<20+1))})
	if resp.StatusCode != 413 || !bytes.Contains(body, []byte("object too large")) {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	wantStored(t, store, 0, 0)
	if resp, _ := send(t, "POST", server.URL+"/store/fits", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1<<20))}); resp.StatusCode != 200 {
		t.Errorf("%s", resp.Status)
	}
}

func wantStored(t testing.TB, store *objects.Store, objects, bytes int64) {
	t.Helper()
	if n, size := store.Stats(); n != objects || size != bytes {
		t.Errorf("%d objects with %d bytes, want %d with %d", n, size, objects, bytes)
	}
}

func TestOneOfManyUploadsOfOneIDWins(t *testing.T) {
	server, store := newObjects(t, objects.Config{}, service.ObjectsConfig{})
	var stored, duplicates atomic.Int32
	var done sync.WaitGroup
	for n := range 20 {
		done.Go(func() {
			body := strings.Repeat(fmt.Sprintf("body %02d ", n), 100_000)
			resp, err := http.Post(server.URL+"/store/one", "application/octet-stream", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			switch {
			case resp.StatusCode == 200 && bytes.Contains(answer, []byte(`"Error":null`)):
				stored.Add(1)
			case resp.StatusCode == 200 && bytes.Contains(answer, []byte(`"duplicate object"`)):
				duplicates.Add(1)
			default:
				t.Errorf("%s\n%s", resp.Status, answer)
			}
		})
	}
	done.Wait()
	if stored.Load() != 1 || duplicates.Load() != 19 {
		t.Errorf("%d stored, %d duplicates", stored.Load(), duplicates.Load())
	}
	wantStored(t, store, 1, 800_000)
}

// dialUpload opens a connection and sends the head of an upload and the first bytes of it.
func dialUpload(t testing.TB, server *httptest.Server, length int, first string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /store/one HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", length, first)
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestAStalledUploadIsCutAndLeavesNothing(t *testing.T) {
	server, store := newObjects(t, objects.Config{}, service.ObjectsConfig{Stall: 50 * time.Millisecond})
	conn := dialUpload(t, server, 1000, "some of it")
	answer, err := io.ReadAll(conn) // to the end: the connection is closed
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 408")) || !bytes.Contains(answer, []byte("the upload stalled")) {
		t.Errorf("%v\n%s", err, answer)
	}
	wantStored(t, store, 0, 0)
	if resp, _ := send(t, "POST", server.URL+"/store/one", strings.NewReader("whole")); resp.StatusCode != 200 {
		t.Errorf("the next one: %s", resp.Status)
	}
}

func TestAnUploadWhoseClientGoesAwayLeavesNothing(t *testing.T) {
	ended := make(chan struct{})
	logger := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("msg=request")) {
			close(ended)
		}
		return len(p), nil
	}), nil))
	server, store := newObjects(t, objects.Config{}, service.ObjectsConfig{Logger: logger})
	conn := dialUpload(t, server, 1000, "some of it")
	conn.Close()
	<-ended
	wantStored(t, store, 0, 0)
	if _, err := store.Get(t.Context(), "one"); err == nil {
		t.Error("there is an object")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Many clients at once, up and down: what they move is many times what may be in memory.
func TestUploadsAndDownloadsInConstantMemory(t *testing.T) {
	const clients, size = 50, 16 << 20
	server, _ := newObjects(t, objects.Config{}, service.ObjectsConfig{})
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block)
	body := func() io.Reader {
		var parts []io.Reader
		for range size / len(block) {
			parts = append(parts, bytes.NewReader(block))
		}
		return io.MultiReader(parts...)
	}
	if resp, answer := send(t, "POST", server.URL+"/store/big", body()); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, answer)
	}
	var most atomic.Uint64
	watching, stop := context.WithCancel(t.Context())
	var watch, done sync.WaitGroup
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	watch.Go(func() {
		for tick := time.NewTicker(10 * time.Millisecond); watching.Err() == nil; <-tick.C {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most.Store(max(most.Load(), now.HeapAlloc))
		}
	})
	for n := range clients {
		done.Go(func() {
			resp, err := http.Get(server.URL + "/store/big/download")
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.Copy(io.Discard, resp.Body); err != nil || got != size {
				t.Errorf("client %d: %d bytes, %v", n, got, err)
			}
		})
	}
	for n := range 5 {
		done.Go(func() {
			resp, err := http.Post(fmt.Sprintf("%s/store/up%d", server.URL, n), "", body())
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("upload %d: %s", n, resp.Status)
			}
		})
	}
	done.Wait()
	stop()
	watch.Wait()
	// Client and server are in this process: a few buffers for each of the connections.
	if used := most.Load() - min(most.Load(), before.HeapAlloc); used > 64<<20 {
		t.Errorf("%d MiB in use at once for %d downloads of %d MiB", used>>20, clients, size>>20)
	}
}

// K6build's own client takes no other status than 200 and no other success than an error of null; a duplicate it knows by its words.
// A binary that is refused is large: the answer comes after all of it was sent.
func TestTheClientOfK6buildIsUnderstood(t *testing.T) {
	server, _ := newObjects(t, objects.Config{}, service.ObjectsConfig{})
	body := strings.Repeat("k6", 8<<20)
	for range 2 {
		resp, err := http.Post(server.URL+"/store/one", "application/octet-stream", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Error *struct {
				Error  string
				Reason *struct{ Error string }
			}
			Object struct{ ID, Checksum, URL string }
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || answer.Object.Checksum != digestOf([]byte(body)) {
			t.Fatalf("%s, %v: %+v", resp.Status, err, answer)
		}
		if again := answer.Error != nil; again && answer.Error.Error != "duplicate object" {
			t.Errorf("%+v", answer.Error)
		}
	}
}

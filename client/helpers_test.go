package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k6x"
)

var (
	linux = k6x.Platform{OS: "linux", Arch: "amd64"}
	data  = bytes.Repeat([]byte("k6"), 500_000)
)

const pinned = "k6@v1.8.1,k6/x/redis@v0.3.6"

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// announce sets the headers that the service sends with a binary.
func announce(w http.ResponseWriter, data []byte) {
	sum := sha256.Sum256(data)
	w.Header().Set("Etag", `"`+hex.EncodeToString(sum[:])+`"`)
	w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	w.Header().Set("Content-Type", "application/octet-stream")
}

func serveData(w http.ResponseWriter, r *http.Request) {
	announce(w, data)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// dial returns a client of a handler at a base path, and where it notes how long it paused.
func dial(t *testing.T, h http.HandlerFunc) (*Client, *[]time.Duration) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	base, err := ParseBase(server.URL + "/base/")
	if err != nil {
		t.Fatal(err)
	}
	pauses := new([]time.Duration)
	return &Client{Base: base, Token: "secret", Pause: func(ctx context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		return ctx.Err()
	}}, pauses
}

func list(t testing.TB, s string) k6x.List {
	t.Helper()
	l, err := k6x.ParseList(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fetch fetches a list for Linux into a file.
func fetch(t *testing.T, c *Client, what string) (Binary, error) {
	t.Helper()
	return c.Fetch(t.Context(), linux, list(t, what), tempFile(t))
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "k6"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func wantBytes(t *testing.T, file *os.File, want []byte) {
	t.Helper()
	got, err := os.ReadFile(file.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes (%v), want %d", len(got), err, len(want))
	}
}

// half sends the first half, and then does as it is told.
func half(then func(r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		announce(w, data)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		then(r)
	}
}

func cut(*http.Request)     { panic(http.ErrAbortHandler) }
func stall(r *http.Request) { <-r.Context().Done() }

func status(code int, header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", header)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

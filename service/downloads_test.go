package service_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"k6x/builder"
	"k6x/cache/dir"
	"k6x/service"
)

const largeSize = 16 << 20 // more than the buffers of a connection take

// largeOn returns a server of large binaries whose store has room for two of them.
func largeOn(t *testing.T, c service.Config) *httptest.Server {
	t.Helper()
	store, err := dir.Open(dir.Config{Dir: t.TempDir(), Size: largeSize * 5 / 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c.Store = store
	server, _ := newServer(t, parts{config: c, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(engineOfZeros(largeSize), store, nil)
	}})
	return server
}

// holdOpen begins a download and reads no more than its head.
func holdOpen(t *testing.T, server *httptest.Server, path string) io.Closer {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	head := make([]byte, 1<<10)
	if _, err := io.ReadFull(conn, head); err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) {
		t.Fatalf("%v\n%.60s", err, head)
	}
	return conn
}

func on(platform string) string { return strings.Replace(helloPath, "linux/amd64", platform, 1) }

func TestClientsThatReadNothingKeepNoBuildOut(t *testing.T) {
	server := largeOn(t, service.Config{})
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		holdOpen(t, server, on(platform))
	}
	for _, platform := range []string{"darwin/amd64", "darwin/arm64", "windows/amd64", "linux/amd64"} {
		if resp, body := do(t, "GET", server.URL+on(platform)); resp.StatusCode != 200 || len(body) != largeSize {
			t.Errorf("%s: %s with %d bytes", platform, resp.Status, len(body))
		}
	}
}

func TestWhatClientsHoldOpenIsBounded(t *testing.T) {
	server := largeOn(t, service.Config{Open: 6 * largeSize})
	get := func(method, platform, client string, want int) {
		t.Helper()
		resp, _ := do(t, method, server.URL+on(platform), "X-Forwarded-For: "+client)
		if resp.StatusCode != want || (want >= 400) != (resp.Header.Get("Retry-After") != "") {
			t.Errorf("%s of %s for %s: %s, Retry-After %q, want %d", method, platform, client, resp.Status, resp.Header.Get("Retry-After"), want)
		}
	}
	held := holdOpen(t, server, on("linux/amd64"))
	get("GET", "linux/arm64", "", 429)
	get("HEAD", "linux/arm64", "", 200)
	get("GET", "linux/amd64", "", 200) // the same file
	get("GET", "linux/arm64", "198.51.100.1", 200)
	held.Close()
	for { // until the service sees that
		if resp, _ := do(t, "GET", server.URL+on("linux/arm64")); resp.StatusCode == 200 {
			break
		}
	}
}

package service_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"k6x/builder"
	"k6x/cache/dir"
	"k6x/service"
)

// An answer without bytes of the binary opens no file once the record was read, and none of a binary that went.
func TestAnswersWithoutBytesOpenNoFile(t *testing.T) {
	var opened atomic.Int32
	where := t.TempDir()
	store, err := dir.Open(dir.Config{Dir: where, Observe: func(method string, _ time.Duration, _ error) {
		if method == "open" {
			opened.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	server, _ := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(lines{}, store, nil)
	}})
	url := server.URL + helloPath
	do(t, "GET", url)
	first, whole := do(t, "GET", url)
	tag := first.Header.Get("Etag")
	for name, c := range map[string]struct {
		method, header string
		status         int
		length         int64
		opens          int32
	}{
		"304":                      {"GET", "If-None-Match: " + tag, 304, 0, 0},
		"304 of HEAD":              {"HEAD", "If-None-Match: " + tag, 304, 0, 0},
		"HEAD":                     {"HEAD", "Accept: */*", 200, int64(len(whole)), 0},
		"HEAD of a range":          {"HEAD", "Range: bytes=0-9", 206, 10, 0},
		"HEAD of other bytes":      {"HEAD", `If-None-Match: "other"`, 200, int64(len(whole)), 0},
		"HEAD of no change":        {"HEAD", "If-Modified-Since: " + first.Header.Get("Last-Modified"), 304, 0, 0},
		"a client of other bytes":  {"GET", `If-None-Match: "other"`, 200, int64(len(whole)), 1},
		"a range of another unit":  {"GET", "Range: lines=1-2", 200, int64(len(whole)), 1},
		"a client without a tag":   {"GET", "Accept: */*", 200, int64(len(whole)), 1},
		"a condition on the bytes": {"GET", `If-Match: "other"`, 412, -1, 1},
	} {
		before := opened.Load()
		resp, body := do(t, c.method, url, c.header)
		if resp.StatusCode != c.status || c.length > 0 && resp.ContentLength != c.length || c.method == "GET" && c.status == 200 && string(body) != string(whole) {
			t.Errorf("%s: %s, %d bytes, want %d of %d", name, resp.Status, resp.ContentLength, c.status, c.length)
		}
		if c.status < 400 && (resp.Header.Get("Etag") != tag || resp.Header.Get("Cache-Control") != first.Header.Get("Cache-Control")) {
			t.Errorf("%s: %v", name, resp.Header)
		}
		if got := opened.Load() - before; got != c.opens {
			t.Errorf("%s: %d files were opened, want %d", name, got, c.opens)
		}
	}

	// What is found damaged is not described any more, but built again.
	flipStored(t, where)
	key, err := store.Lookup(t.Context(), helloPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Verify(t.Context(), key); err == nil {
		t.Error("the damage is not found")
	}
	if entry := store.Describe(t.Context(), key); entry != nil {
		t.Errorf("it is still there: %+v", entry)
	}
	if resp, _ := do(t, "HEAD", url); resp.StatusCode != 200 || resp.Header.Get("Etag") != tag {
		t.Errorf("HEAD then: %s", resp.Status)
	}
	if left, _ := filepath.Glob(filepath.Join(where, "artifacts", "*", "*", "binary")); len(left) != 1 {
		t.Error("it was not built again")
	} else if data, err := os.ReadFile(left[0]); err != nil || string(data) != string(whole) {
		t.Error("other bytes were built")
	}
}

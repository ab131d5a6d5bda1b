package service_test

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/cache/blob/mem"
	"k6x/cache/bucket"
	"k6x/cache/journal"
	"k6x/history"
	"k6x/service"
)

func TestNewsAsAFeed(t *testing.T) {
	bucket := &mem.Bucket{}
	server := newHistoryServer(t, bucket, parts{})
	type feed struct {
		Updated time.Time `xml:"updated"`
		Entries []struct {
			ID    string `xml:"id"`
			Title string `xml:"title"`
			Link  struct {
				Href string `xml:"href,attr"`
			} `xml:"link"`
			Summary string `xml:"summary"`
		} `xml:"entry"`
	}
	get := func(query string) (f feed) {
		resp, body := do(t, http.MethodGet, server.URL+"/changes.atom"+query)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/atom+xml" || xml.Unmarshal(body, &f) != nil {
			t.Fatalf("%s: %d %s", query, resp.StatusCode, body)
		}
		return f
	}
	if f := get(""); len(f.Entries) != 0 {
		t.Errorf("before any build: %+v", f)
	}
	_, hello := start(t, server, helloPath)
	result(t, server, hello)
	_, broken := start(t, server, brokenPath)
	result(t, server, broken)
	view := history.New(journal.New(journal.Config{Bucket: bucket}), 10, nil)
	if err := view.Append(t.Context(), history.Entry{Type: history.Retry, Build: "a", Retry: "b"}); err != nil {
		t.Fatal(err)
	}
	entry := history.Entry{Type: history.Quarantine, Worker: "w1", Reason: "it lies", Unverified: []string{"/linux/amd64/k6@v1.0.0", "/linux/amd64/k6@v1.1.0"}}
	if err := view.Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	for range 96 {
		if err := view.Append(t.Context(), history.Entry{Type: history.Version, Module: "example.com/x", Name: "k6/x/<\x1b", Version: "v1.0.0"}); err != nil {
			t.Fatal(err)
		}
	}
	for len(get("").Entries) < 100 { // until the service has seen them
	}
	if f := get(""); len(f.Entries) != 100 || f.Entries[0].Title != "new version: k6/x/< v1.0.0" || f.Updated.IsZero() {
		t.Errorf("%d entries, first %+v", len(f.Entries), f.Entries[0])
	}
	if e := get("").Entries[97]; e.Title != "made again: build a" || !strings.HasSuffix(e.Link.Href, "/builds/b") || e.ID == e.Link.Href {
		t.Errorf("of a build that is made again: %+v", e)
	}
	if e := get("").Entries[96]; e.Title != "the worker w1 is quarantined: it lies" || !strings.HasSuffix(e.Link.Href, "/status") || !strings.Contains(e.Summary, "k6@v1.1.0") {
		t.Errorf("of a worker that was wrong: %+v", e)
	}
	f := get("?extension=k6/x/broken")
	if len(f.Entries) != 1 || f.Entries[0].Link.Href != broken || f.Entries[0].Title != "failed: "+strings.TrimPrefix(brokenPath, "/") ||
		f.Entries[0].ID != "urn:uuid:"+broken[strings.LastIndex(broken, "/")+1:] || !strings.Contains(f.Entries[0].Summary, "does not compile") {
		t.Errorf("%+v", f)
	}
	resp, _ := do(t, http.MethodGet, server.URL+"/changes.atom")
	for header, value := range map[string]string{"If-None-Match": resp.Header.Get("Etag"), "If-Modified-Since": resp.Header.Get("Last-Modified")} {
		if resp, _ := do(t, http.MethodGet, server.URL+"/changes.atom", header+": "+value); resp.StatusCode != http.StatusNotModified {
			t.Errorf("%s %s: %d", header, value, resp.StatusCode)
		}
	}
}

// A binary is had by its digest by the rules for its path, also from a service that did not build it.
func TestABinaryByItsDigest(t *testing.T) {
	journal, store := &mem.Bucket{}, bucket.Memory(bucket.Config{})
	server := newHistoryServer(t, journal, parts{config: service.Config{Store: store}})
	_, url := start(t, server, helloPath)
	digest := result(t, server, url).Digest
	want, bytes := do(t, http.MethodGet, server.URL+helloPath)
	for _, headers := range [][]string{nil, {"Accept-Encoding: zstd, gzip"}} {
		resp, body := do(t, http.MethodGet, server.URL+"/cas/"+digest, headers...)
		h := resp.Header
		if resp.StatusCode != http.StatusOK || string(body) != string(bytes) || h.Get("Etag") != `"`+digest+`"` || h.Get("Etag") != want.Header.Get("Etag") ||
			h.Get("Cache-Control") != "public, max-age=31536000, immutable" || h.Get("Content-Encoding") != "" {
			t.Errorf("%d, %v", resp.StatusCode, h)
		}
	}
	if resp, body := do(t, http.MethodGet, server.URL+"/cas/"+digest, "Range: bytes=1-3"); resp.StatusCode != http.StatusPartialContent || string(body) != string(bytes[1:4]) {
		t.Errorf("range: %d", resp.StatusCode)
	}
	if resp, body := do(t, http.MethodHead, server.URL+"/cas/"+digest); resp.StatusCode != http.StatusOK || len(body) != 0 || resp.ContentLength != int64(len(bytes)) {
		t.Errorf("HEAD: %d, %d", resp.StatusCode, resp.ContentLength)
	}
	if resp, _ := do(t, http.MethodGet, server.URL+"/cas/"+digest, `If-None-Match: "`+digest+`"`); resp.StatusCode != http.StatusNotModified {
		t.Errorf("If-None-Match: %d", resp.StatusCode)
	}
	for path, status := range map[string]int{"/cas/" + strings.Repeat("0", 64): 404, "/cas/x": 404, "/cas/": 404, "/cas/..%2f..%2fetc": 404} {
		if resp, body := do(t, http.MethodGet, server.URL+path); resp.StatusCode != status || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	for rule, p := range map[string]parts{
		"404": {config: service.Config{Store: store, Platforms: []k6x.Platform{{OS: "windows", Arch: "amd64"}}}},
		"403": {config: service.Config{Store: store}, filter: "[?contains(module, 'world')]"},
		"200": {config: service.Config{Store: store, Tokens: tokens(t)}}, // what is stored is open
	} {
		other := newHistoryServer(t, journal, p)
		for { // until it has read the history
			resp, body := do(t, http.MethodGet, other.URL+"/cas/"+digest)
			if strings.Contains(string(body), "no binary with the digest") {
				continue
			}
			if byPath, _ := do(t, http.MethodGet, other.URL+helloPath); strconv.Itoa(resp.StatusCode) != rule || byPath.StatusCode != resp.StatusCode {
				t.Errorf("%s: by path %s, by digest %s: %s", rule, byPath.Status, resp.Status, body)
			}
			break
		}
	}
	if resp, _ := send(t, http.MethodPut, server.URL+"/cas/"+digest, strings.NewReader("x")); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", resp.StatusCode)
	}
}

// Where tokens are in force, what is open to all names no module.
func TestOpenPathsNameNoModulesWithoutAToken(t *testing.T) {
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{Tokens: tokens(t)}})
	for _, path := range []string{helloPath, brokenPath} {
		do(t, http.MethodGet, server.URL+path, "Authorization: Bearer a-good-token")
	}
	_, body := do(t, http.MethodGet, server.URL+"/builds", "Authorization: Bearer a-good-token")
	if !strings.Contains(string(body), "k6/x/hello") || !strings.Contains(string(body), "k6/x/broken") {
		t.Fatalf("%s", body)
	}
	_, id, _ := strings.Cut(string(body), `"id": "`)
	id = id[:36]
	_, key, _ := strings.Cut(string(body[bytes.LastIndex(body, []byte("/broken@")):]), `"key": "`)
	log := "/logs/" + key[:64]
	if resp, body := do(t, http.MethodGet, server.URL+log, "Authorization: Bearer a-good-token"); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "broken") {
		t.Errorf("%s with a token: %d %s", log, resp.StatusCode, body)
	}
	for _, path := range []string{"/", "/help", "/alive", "/ready", "/version", "/status", "/metrics", "/builds", "/builds/" + id, "/builds/" + id + "/events", "/builds/" + id + "/log",
		"/matrix", "/changes", "/changes.atom", log, "/logs/", "/progress", "/cas/" + strings.Repeat("0", 64)} {
		resp, body := do(t, http.MethodGet, server.URL+path)
		for _, name := range []string{"x/hello", "xk6-hello", "broken"} {
			if strings.Contains(string(body), name) {
				t.Errorf("%s: %d %s", path, resp.StatusCode, body)
			}
		}
	}
	for _, method := range []string{"POST /builds", "POST /builds/" + id + "/retry"} {
		verb, path, _ := strings.Cut(method, " ")
		resp, _ := send(t, verb, server.URL+path, strings.NewReader(`{"path": "`+helloPath+`"}`))
		crossed, _ := send(t, verb, server.URL+path, strings.NewReader(`{"path": "`+helloPath+`"}`), "Authorization: Bearer a-good-token", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site")
		if resp.StatusCode != http.StatusUnauthorized || crossed.StatusCode != http.StatusForbidden {
			t.Errorf("%s: without a token %d, of another origin %d", method, resp.StatusCode, crossed.StatusCode)
		}
	}
}

// A cursor is a place in the history, whoever gave it: that of another service gives a page, and garbage an error.
func TestForeignCursorsAndLongQueries(t *testing.T) {
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	_, url := start(t, server, helloPath)
	result(t, server, url)
	long := strings.Repeat("x", 500<<10)
	for query, want := range map[string]int{
		"/builds?cursor=zzzzzz": 200, "/builds?cursor=1": 200, "/builds?cursor=-1": 400, "/builds?cursor=" + strings.Repeat("z", 40): 400, "/builds?cursor=%27%3B": 400,
		"/builds?path=" + long: 400, "/matrix?k6=" + long: 400, "/changes?since=" + long: 400, "/changes.atom?extension=" + long: 400,
		"/changes?since=999999": 200, "/changes?since=99999999999999999999": 400,
	} {
		if resp, body := do(t, http.MethodGet, server.URL+query); resp.StatusCode != want || len(body) > 10<<10 {
			t.Errorf("%.60s: %d, %d bytes", query, resp.StatusCode, len(body))
		}
	}
	resp, body := do(t, http.MethodGet, server.URL+"/builds?extension="+strings.Repeat("x", 10<<20))
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge || len(body) > 10<<10 {
		t.Errorf("10 MB: %d, %d bytes", resp.StatusCode, len(body))
	}
}

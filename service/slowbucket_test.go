package service_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/cache/tier"
	"k6x/service"
)

// slowBucket is a bucket whose bytes come when they are let through.
type slowBucket struct {
	*bucket.Store
	lookup <-chan struct{} // closed when bindings can be looked up
	bytes  chan int        // how many more bytes may come
}

func (s *slowBucket) Lookup(ctx context.Context, path string) (string, error) {
	<-s.lookup
	return s.Store.Lookup(ctx, path)
}

func (s *slowBucket) Open(ctx context.Context, key string) (*cache.Entry, error) {
	entry, err := s.Store.Open(ctx, key)
	if err == nil {
		entry.Body = &trickle{ReadSeeker: entry.Body, more: s.bytes}
	}
	return entry, err
}

type trickle struct {
	io.ReadSeeker
	more chan int
	left int
}

func (t *trickle) Read(p []byte) (int, error) {
	if t.left == 0 {
		t.left = <-t.more // 0 once it is closed: all
		if t.left == 0 {
			t.left = 1 << 30
		}
	}
	n, err := t.ReadSeeker.Read(p[:min(len(p), t.left)])
	t.left -= n
	return n, err
}

// behindSlowBucket returns a server that has nothing near, the bytes that are far, and what lets them through.
func behindSlowBucket(t *testing.T) (url string, whole []byte, lookup chan struct{}, more chan int) {
	t.Helper()
	far, err := bucket.Open(t.Context(), bucket.Config{URL: "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	near := func() *dir.Store {
		store, err := dir.Open(dir.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return store
	}
	serve := func(store cache.Store, wait time.Duration, build func(builder.Builder) builder.Builder) *httptest.Server {
		server, _ := newServer(t, parts{config: service.Config{Store: store, MaxWait: wait}, builder: build})
		return server
	}
	filled := tier.New(near(), far, nil)
	maker := serve(filled, 0, func(builder.Builder) builder.Builder { return builder.Keep(lines{}, filled, nil) })
	for { // until the registry is read, and it is built
		resp, body := do(t, "GET", maker.URL+helloPath)
		if resp.StatusCode == http.StatusOK {
			whole = body
			break
		}
	}
	lookup, more = make(chan struct{}), make(chan int)
	slow := tier.New(near(), &slowBucket{far, lookup, more}, nil)
	return serve(slow, 100*time.Millisecond, failing(k6x.Errorf(k6x.Internal, "nothing is to be built"))).URL, whole, lookup, more
}

func TestWhatComesFromASlowBucketIsSentAsItArrives(t *testing.T) {
	url, whole, lookup, more := behindSlowBucket(t)
	sentRound := func(path, to string) {
		t.Helper()
		resp, _ := do(t, "GET", url+path)
		if resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != to || !strings.Contains(resp.Header.Get("Cache-Control"), "no-store") {
			t.Errorf("%s to %s, %s; want a redirect to %s", resp.Status, resp.Header.Get("Location"), resp.Header.Get("Cache-Control"), to)
		}
	}
	sentRound(helloPath, helloPath+"?round=1")
	close(lookup)

	// What needs no bytes waits for none.
	resp, _ := do(t, "HEAD", url+helloPath)
	tag := `"` + hexDigest(whole) + `"`
	if resp.StatusCode != 200 || resp.Header.Get("Content-Length") != strconv.Itoa(len(whole)) || resp.Header.Get("Etag") != tag {
		t.Errorf("HEAD: %s, %v", resp.Status, resp.Header)
	}
	if resp, _ := do(t, "GET", url+helloPath, "If-None-Match: "+tag); resp.StatusCode != 304 {
		t.Errorf("If-None-Match: %s", resp.Status)
	}
	sentRound(helloPath+"?round=1", helloPath+"?round=2")

	more <- 100_000
	got, err := http.Get(url + helloPath + "?round=2")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	head := make([]byte, 50_000) // while the rest is not there
	if _, err := io.ReadFull(got.Body, head); err != nil || got.StatusCode != 200 {
		t.Fatalf("%s, %v", got.Status, err)
	}
	close(more)
	rest, err := io.ReadAll(got.Body)
	if err != nil || !bytes.Equal(append(head, rest...), whole) {
		t.Errorf("%d bytes, %v", len(head)+len(rest), err)
	}
}

// brokenBucket takes no uploads.
type brokenBucket struct {
	*bucket.Store
	broken bool
}

func (b *brokenBucket) Import(ctx context.Context, artifact k6x.Artifact, bind bool, body io.ReaderAt) (k6x.Artifact, string, error) {
	if b.broken {
		return k6x.Artifact{}, "", k6x.Errorf(k6x.Unavailable, "the store's bucket does not answer")
	}
	return b.Store.Import(ctx, artifact, bind, body)
}

func TestABuildThatCannotBeUploadedIsSentAndNotCached(t *testing.T) {
	far, err := bucket.Open(t.Context(), bucket.Config{URL: "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	near, err := dir.Open(dir.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	remote := &brokenBucket{far, true}
	store := tier.New(near, remote, nil)
	server, _ := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(lines{}, store, nil)
	}})
	want := "no-store"
	for range 3 {
		if resp, body := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 || len(body) == 0 || resp.Header.Get("Cache-Control") != want {
			t.Errorf("%s, %d bytes, Cache-Control %q, want %q", resp.Status, len(body), resp.Header.Get("Cache-Control"), want)
		}
		if want != "no-store" {
			continue
		}
		if remote.broken = false; store.Upload(t.Context()) != nil {
			t.Error("the upload fails")
		}
		want = "public, max-age=31536000, immutable"
	}
}

func TestAPreloadBringsWhatIsInTheBucket(t *testing.T) {
	far, err := bucket.Open(t.Context(), bucket.Config{URL: "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	var near *dir.Store
	for _, work := range []string{"build", "fetch"} {
		if near, err = dir.Open(dir.Config{Dir: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = near.Close() })
		store := tier.New(near, far, nil)
		_, s := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
			return builder.Keep(lines{}, store, nil)
		}})
		s.Preload(t.Context(), wishes(t, "k6@v1.1.0,k6/x/hello@v0.1.1"))
		if stats := near.Stats(); stats.Artifacts != 1 {
			t.Errorf("%s: %+v", work, stats)
		}
	}
}

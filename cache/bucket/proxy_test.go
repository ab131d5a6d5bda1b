package bucket

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// trouble is what a [proxy] does to a request instead of passing it on.
type trouble func(p *proxy, w http.ResponseWriter, r *http.Request)

// proxy stands between a store and a server of S3 and makes trouble when it is told to.
type proxy struct {
	to     *httputil.ReverseProxy
	server *httptest.Server
	over   chan struct{} // closed at the end of the test

	mu       sync.Mutex // guards what follows
	plan     func(n int, r *http.Request) trouble
	requests []string
}

func newProxy(t testing.TB, behind *fakeS3) *proxy {
	t.Helper()
	target, err := url.Parse(behind.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: httputil.NewSingleHostReverseProxy(target), over: make(chan struct{})}
	p.server = httptest.NewServer(p)
	t.Cleanup(func() {
		close(p.over)
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// trouble makes plan decide about each request; n counts those since.
func (p *proxy) trouble(plan func(n int, r *http.Request) trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.requests = plan, nil
}

// seen returns the requests since the last call of trouble that have text in them.
func (p *proxy) seen(text string) (found []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		if strings.Contains(r, text) {
			found = append(found, r)
		}
	}
	return found
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests = append(p.requests, r.Method+" "+r.URL.String())
	var do trouble
	if p.plan != nil {
		do = p.plan(len(p.requests), r)
	}
	p.mu.Unlock()
	if do == nil {
		p.to.ServeHTTP(w, r)
		return
	}
	do(p, w, r)
}

func unavailable(_ *proxy, w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusServiceUnavailable)
}

func forbidden(_ *proxy, w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusForbidden)
	io.WriteString(w, `<Error><Code>AccessDenied</Code><Message>no, token=abcdef</Message></Error>`)
}

func full(_ *proxy, w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusForbidden)
	io.WriteString(w, `<Error><Code>QuotaExceeded</Code><Message>full</Message></Error>`)
}

// cutUpload reads a part of the request and closes the connection.
func cutUpload(_ *proxy, _ http.ResponseWriter, r *http.Request) {
	io.CopyN(io.Discard, r.Body, 10_000)
	panic(http.ErrAbortHandler)
}

// cutAnswer does what was asked for, and closes the connection instead of answering.
func cutAnswer(p *proxy, _ http.ResponseWriter, r *http.Request) {
	p.to.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// cutDownload sends a part of the answer and closes the connection.
func cutDownload(p *proxy, w http.ResponseWriter, r *http.Request) {
	p.partly(w, r)
	panic(http.ErrAbortHandler)
}

// stallDownload sends a part of the answer and then nothing more.
func stallDownload(p *proxy, w http.ResponseWriter, r *http.Request) {
	p.partly(w, r)
	hang(p, w, r)
}

func (p *proxy) partly(w http.ResponseWriter, r *http.Request) {
	whole := httptest.NewRecorder()
	p.to.ServeHTTP(whole, r)
	for name, values := range whole.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(whole.Code)
	w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
	http.NewResponseController(w).Flush()
}

// hang answers never.
func hang(p *proxy, _ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.over:
	}
	panic(http.ErrAbortHandler)
}

// isBinary reports whether a request is about the bytes of a binary.
func isBinary(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/artifacts/") && !strings.HasSuffix(r.URL.Path, recordTag)
}

// faulty returns a store behind a proxy, and a store that reaches the same bucket without.
func faulty(t testing.TB, cfg Config) (*Store, *proxy, *Store) {
	t.Helper()
	behind := newS3(t)
	p := newProxy(t, behind)
	cfg.URL = urlAt(p.server.URL)
	if cfg.Patience == 0 {
		cfg.Patience = 3 * time.Second
	}
	return mustOpen(t, cfg), p, mustOpen(t, Config{URL: behind.url("")})
}

// wantNoLeftovers checks that there is neither an object nor an upload under way.
func wantNoLeftovers(t *testing.T, s *Store) {
	t.Helper()
	if left := names(t, s, artifacts); len(left) > 0 {
		t.Errorf("left in the bucket: %v", left)
	}
	u, err := url.Parse(s.cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := minio.NewCore(endpoint.Host, &minio.Options{Creds: credentials.NewEnvAWS(), Region: "us-east-1", BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	uploads, err := client.ListMultipartUploads(t.Context(), u.Host, "", "", "", "", 10)
	if e, ok := errors.AsType[minio.ErrorResponse](err); ok && e.Code == "NoSuchUpload" {
		return // what this server says when there never was one
	}
	if err != nil || len(uploads.Uploads) > 0 {
		t.Errorf("uploads under way: %v, %v", uploads, err)
	}
}

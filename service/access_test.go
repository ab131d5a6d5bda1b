package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/service"
)

// written is a log that is read while it is written.
type written struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func tokens(t *testing.T) *service.Tokens {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(name, []byte("a-good-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := service.LoadTokens(name)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// quick returns parts whose builds take no compiler, and what they are kept in.
func quick(c service.Config) parts {
	if c.Store == nil {
		c.Store = bucket.Memory(bucket.Config{})
	}
	return parts{config: c, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(&wavering{}, c.Store, nil)
	}}
}

// What a client sends comes back without what could play tricks on a terminal, and neither an answer nor a line of the log has more than
// so much of it.
func TestWhatIsQuotedIsPrintableAndBounded(t *testing.T) {
	log := &written{}
	server, _ := newServer(t, quick(service.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))}))
	const escape = "%1b%5b2J%e2%80%ae"
	long := strings.Repeat("x", 60<<10)
	for _, path := range []string{
		"/linux/amd64/k6/x/" + escape, "/linux/x86_64" + escape + "/k6", "/linux/amd64/k6@" + escape, "/logs/" + escape, "/progress/" + escape, "/" + escape,
		"/build?platform=" + escape, "/build?" + escape + "=1", "/build?platform=linux/amd64&k6=" + escape, "/build?platform=linux/amd64&dep=" + escape,
		"/linux/amd64/" + long, "/" + long, "/logs/" + long, "/" + long + "/amd64/k6", "/linux/amd64/k6@" + long, "/build?" + long,
	} {
		for _, form := range []string{"text/plain", "application/problem+json", "text/html"} {
			resp, body := do(t, "GET", server.URL+path, "Accept: "+form, "User-Agent: "+long[:2000])
			var text any = string(body)
			if json.Valid(body) {
				_ = json.Unmarshal(body, &text)
			}
			if said := fmt.Sprint(text); strings.ContainsAny(said, "\x1b\u202e") || len(said) > 2<<10 && form != "text/html" {
				t.Errorf("%.80s: %s with %d bytes: %.300q", path, resp.Status, len(said), said)
			}
		}
	}
	if resp, _ := do(t, strings.Repeat("M", 1<<10), server.URL+helloPath); resp.StatusCode != 405 {
		t.Errorf("a long method: %s", resp.Status)
	}
	for line := range strings.Lines(log.String()) {
		if len(line) > 10<<10 || strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
	}
}

// The line to paste has all that it needs.
func TestTheCommandThatGetsABinaryWorksWhereTheServiceIs(t *testing.T) {
	host := runtime.GOOS + "/" + runtime.GOARCH + "/k6,k6/x/redis"
	public, err := url.Parse("https://builds.example.com/at")
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]service.Config{
		"curl -fL -o k6 http://localhost:8787/" + host:                      {},
		"curl -fL -o k6 http://localhost:8787/k6x/" + host:                  {BasePath: "k6x"},
		`curl -fL -u ":$TOKEN" -o k6 http://localhost:8787/` + host:         {Tokens: tokens(t)},
		`curl -fL -u ":$TOKEN" -o k6 https://builds.example.com/at/` + host: {Tokens: tokens(t), URL: public, BasePath: "/k6x"},
	} {
		server, s := newServer(t, quick(c))
		if got := s.Usage("http://localhost:8787"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if _, body := do(t, "GET", server.URL); !strings.Contains(string(body), strings.ReplaceAll(want, "http://localhost:8787", server.URL)) {
			t.Errorf("the page says\n%s", body)
		}
	}
}

func TestATokenIsNeededToBuildAndNotToDownload(t *testing.T) {
	p := quick(service.Config{Tokens: tokens(t)})
	p.allow = "example.com/*"
	server, _ := newServer(t, p)
	const good = "Authorization: Bearer a-good-token"
	open := strings.Replace(helloPath, "k6@v1.1.0,k6/x/hello@v0.1.1", "k6/x/hello", 1)
	resp, body := post(t, server.URL+"/build", helloBody)
	golden(t, "build-401", wireAPI(resp, body))
	resp, body = post(t, server.URL+"/resolve", "{}", "Authorization: Bearer wrong")
	golden(t, "resolve-401", wireAPI(resp, body))
	resp, body = do(t, "GET", server.URL+helloPath)
	golden(t, "401-first-build", wire(resp, body))
	for _, c := range []struct {
		method, path, header string
		status               int
	}{
		{"GET", "/build?platform=linux/amd64", "", 401},
		{"GET", open, "", 307},
		{"GET", "/linux/amd64/k6/x/hello@0.1.1,k6@1.1.0", "", 301},
		{"GET", "/linux/amd64/example.com/xk6-hello", "", 307},
		{"GET", "/linux/amd64/example.com/nowhere", "", 401}, // it would be looked up where the client says
		{"GET", "/linux/amd64/example.com/nowhere", good, 404},
		{"GET", "/linux/amd64/k6@v1.1.0,example.com/nowhere@v1.0.0", "", 401},
		{"HEAD", helloPath, "", 401},
		{"GET", "/alive", "", 200},
		{"GET", helloPath, good, 200},
		{"GET", helloPath, "", 200},
		{"GET", "/build?platform=linux/amd64", good, 200},
	} {
		var headers []string
		if c.header != "" {
			headers = []string{c.header}
		}
		if resp, body := do(t, c.method, server.URL+c.path, headers...); resp.StatusCode != c.status {
			t.Errorf("%s %s with %q: %s, want %d\n%s", c.method, c.path, c.header, resp.Status, c.status, body)
		}
	}
	if _, body := post(t, server.URL+"/build", helloBody, good); reasonOf(t, body) != "" {
		t.Errorf("%s", body)
	}
}

// A cloud token comes with each request of k6. Nobody but the check of tokens may see it.
func TestATokenIsNeitherLoggedNorToldNorPassedOn(t *testing.T) {
	const secret = "c0ffee-secret"
	for name, tokens := range map[string]*service.Tokens{"with a token file": tokens(t), "without": nil} {
		log, store := &written{}, bucket.Memory(bucket.Config{})
		server, _ := newServer(t, parts{
			config: service.Config{Store: store, Tokens: tokens, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))},
			builder: func(builder.Builder) builder.Builder {
				return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
					if strings.Contains(fmt.Sprint(job), secret) {
						t.Error("the builder got it")
					}
					return k6x.Artifact{}, errors.New("inside")
				})
			},
		})
		const header = "Authorization: Bearer " + secret
		for _, answer := range []func() (*http.Response, []byte){
			func() (*http.Response, []byte) { return post(t, server.URL+"/build", helloBody, header) },
			func() (*http.Response, []byte) { return post(t, server.URL+"/build", "{", header) },
			func() (*http.Response, []byte) { return post(t, server.URL+"/resolve", "{}", header) },
			func() (*http.Response, []byte) { return do(t, "GET", server.URL+helloPath, header) },
		} {
			if resp, body := answer(); strings.Contains(wire(resp, body), secret) {
				t.Errorf("%s: it is in the answer %s", name, body)
			}
		}
		if text := log.String(); strings.Contains(text, secret) || !strings.Contains(text, "path=/build") {
			t.Errorf("%s: the log is\n%s", name, text)
		}
	}
}

func TestBasePathIsAcceptedAndIsInLinks(t *testing.T) {
	server, _ := newServer(t, quick(service.Config{BasePath: "k6x/"}))
	for _, path := range []string{"/k6x/build", "/k6x//build", "//k6x/build/", "/build", "//build/"} {
		_, body := post(t, server.URL+path, helloBody)
		if got, want := artifactOf(t, body).URL, server.URL+"/k6x"+helloPath; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]int{
		"/k6x" + helloPath: 200, helloPath: 200, "/k6x/alive": 200, "/k6x/version/": 200, "/k6x/": 200, "/k6x": 200, "/k6xx/alive": 404, "/k6x/k6x/alive": 404,
		"/k6x/linux/amd64/k6@%3C1.1": 307, "/k6x/" + helloPath: 301,
	} {
		resp, _ := do(t, "GET", server.URL+path)
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
		if location := resp.Header.Get("Location"); location != "" && !strings.HasPrefix(location, "/k6x/linux/amd64/k6@v1.") {
			t.Errorf("%s: Location %s", path, location)
		}
	}
}

// signing is a store whose bytes others can be sent to.
type signing struct {
	cache.Store
	url   string
	err   error
	opens int
}

func (s *signing) Open(ctx context.Context, key string) (*cache.Entry, error) {
	s.opens++
	return s.Store.Open(ctx, key)
}

func (s *signing) SignedURL(_ context.Context, key string) (string, error) {
	return s.url + "/" + key, s.err
}

func TestDownloadsAreRedirectedToAStoreThatSigns(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("bytes")) }))
	t.Cleanup(elsewhere.Close)
	log := &written{}
	store := &signing{Store: bucket.Memory(bucket.Config{}), url: elsewhere.URL}
	server, _ := newServer(t, quick(service.Config{Store: store, Redirect: true, Logger: slog.New(slog.NewTextHandler(log, nil))}))
	for _, what := range []string{"built", "stored"} {
		resp, _ := do(t, "GET", server.URL+helloPath)
		if resp.StatusCode != 307 || !strings.HasPrefix(resp.Header.Get("Location"), elsewhere.URL) || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s just now: %s, %v", what, resp.Status, resp.Header)
		}
		if resp.Header.Get("Etag") != "" {
			t.Errorf("a redirect has the tag %s", resp.Header.Get("Etag"))
		}
	}
	resp, _ := do(t, "HEAD", server.URL+helloPath)
	tag := resp.Header.Get("Etag")
	if resp.StatusCode != 200 || tag == "" {
		t.Errorf("HEAD: %s", resp.Status)
	}
	if resp, _ := do(t, "GET", server.URL+helloPath, `If-None-Match: "other", W/`+tag); resp.StatusCode != 304 {
		t.Errorf("who has it: %s", resp.Status)
	}
	if resp, _ := do(t, "GET", server.URL+helloPath, `If-None-Match: "other"`); resp.StatusCode != 307 {
		t.Errorf("who has another: %s", resp.Status)
	}
	store.opens = 0 // to open may be to fetch
	for _, header := range []string{"X-Any: thing", "If-None-Match: \"other\"", "If-None-Match: " + tag} {
		if resp, _ := do(t, "GET", server.URL+helloPath, header); resp.StatusCode/100 != 3 || store.opens > 0 {
			t.Errorf("%s: %s after opening the binary %d times", header, resp.Status, store.opens)
		}
	}
	store.err = cache.ErrEvicted
	if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 {
		t.Errorf("what is here, but not there: %s", resp.Status)
	}
	store.err = errors.New("no credentials")
	if resp, body := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 || !bytes.HasPrefix(body, []byte("k6")) {
		t.Errorf("when it cannot sign: %s", resp.Status)
	}
	if !strings.Contains(log.String(), "no credentials") {
		t.Error("a failure to sign is not logged")
	}
	store.err = fmt.Errorf("a directory: %w", errors.ErrUnsupported)
	for range 3 {
		if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 {
			t.Errorf("when it never can: %s", resp.Status)
		}
	}
	if n := strings.Count(log.String(), "cannot sign URLs"); n != 1 {
		t.Errorf("that it never can was told %d times", n)
	}
	plain := &written{}
	server, _ = newServer(t, quick(service.Config{Redirect: true, Logger: slog.New(slog.NewTextHandler(plain, nil))}))
	if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 || !strings.Contains(plain.String(), "cannot sign") {
		t.Errorf("a store that cannot: %s\n%s", resp.Status, plain)
	}
}

func TestBaseURLIsInFrontOfLocations(t *testing.T) {
	base, err := url.Parse("https://builds.example.com/k6/")
	if err != nil {
		t.Fatal(err)
	}
	server, _ := newServer(t, parts{config: service.Config{URL: base}})
	resp, _ := do(t, "GET", server.URL+"/linux/amd64/k6/x/hello")
	if got, want := resp.Header.Get("Location"), "/k6"+helloPath; got != want {
		t.Errorf("Location %s, want %s", got, want)
	}
	_, body := do(t, "GET", server.URL+"/linux/amd64/k6@v1.1.0,k6/x/broken@v0.1.0")
	if !strings.Contains(string(body), "https://builds.example.com/k6/logs/") {
		t.Errorf("no link to the log below the base URL:\n%s", body)
	}
}

package service_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/bucket"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
	"k6x/resolver"
	"k6x/service"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const helloPath = "/linux/amd64/k6@v1.1.0,k6/x/hello@v0.1.1"

// parts are what a service for tests is made of; the zero value is all real, with the
// stand-in k6.
type parts struct {
	config  service.Config
	builder func(real builder.Builder) builder.Builder
	filter  string
	overlay []string // registries besides that of the stand-ins
	layout  int      // added to the one of recipes
	allow   string   // modules that may be asked for by path
	events  event.Sink
	logs    blob.Bucket // that logs are shared in; nil: in none
	sink    *event.Sink // becomes the one that gets the events of engines; nil: it is not wanted
}

// newServer serves a stand-in k6 and its extensions, resolved and built by the real parts.
func newServer(t testing.TB, p parts) (*httptest.Server, *service.Service) {
	t.Helper()
	modules := testmod.Serve(t, "../testdata/standin")
	tool, err := gotool.Find(t.Context(), []string{"GOPROXY=" + modules, "GOSUMDB=off"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := native.New(t.Context(), native.Config{Tool: tool, Dir: goDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	r, err := resolver.New(t.Context(), resolver.Config{
		Registries: append([]string{"testdata/registry.json"}, p.overlay...), Toolchain: tool.Version, Dir: t.TempDir(),
		Go: tool.Path, Env: engine.Env(), Filter: p.filter, AllowModules: p.allow,
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := cache.OpenLogs(t.TempDir(), 10, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	logs.Share(p.logs)
	c := p.config
	c.Resolver, c.Logs = r, logs
	c.Settings = k6x.Settings{Toolchain: tool.Version, Flags: engine.Settings().Flags, Layout: engine.Settings().Layout + p.layout}
	if c.Store == nil {
		c.Store = bucket.Memory(bucket.Config{})
	}
	sink := event.Tee(p.events, service.KeepLogs(logs, slog.New(slog.DiscardHandler)))
	if p.sink != nil {
		*p.sink = sink
	}
	c.Builder = builder.Keep(engine, c.Store, sink)
	if p.builder != nil {
		c.Builder = p.builder(c.Builder)
	}
	c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s := service.New(c)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server, s
}

// goDir has Go's caches for all tests of the package.
var goDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "k6x-service-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goDir = dir
	if err := warmcache.CopyStandard(filepath.Join(dir, "gocache")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = cache.RemoveAll(dir)
	os.Exit(code)
}

type builderFunc func(context.Context, builder.Job) (k6x.Artifact, error)

func (f builderFunc) Build(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
	return f(ctx, job)
}

// failing returns a builder that fails with err.
func failing(err error) func(builder.Builder) builder.Builder {
	return func(builder.Builder) builder.Builder {
		return builderFunc(func(context.Context, builder.Job) (k6x.Artifact, error) { return k6x.Artifact{}, err })
	}
}

var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func do(t testing.TB, method, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	return send(t, method, url, nil, headers...)
}

// send sends a request, with a body unless it is nil, and returns the answer.
func send(t testing.TB, method, url string, body io.Reader, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := direct.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, answer
}

// wire writes an answer down; what differs from run to run is masked.
func wire(resp *http.Response, body []byte) string {
	var b bytes.Buffer
	fmt.Fprintln(&b, resp.Status)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range resp.Header {
			if !yield(name) {
				return
			}
		}
	}) {
		value := strings.Join(resp.Header[name], ", ")
		switch name {
		case "Date", "X-Request-Id", "Last-Modified":
			value = "…"
		case "Etag", "Repr-Digest":
			value = regexp.MustCompile(`[A-Za-z0-9+/]{20,}=*`).ReplaceAllString(value, "…")
		case "Content-Length", "Content-Range":
			value = regexp.MustCompile(`\d{5,}`).ReplaceAllString(value, "…")
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	fmt.Fprintln(&b)
	if resp.Header.Get("Content-Type") == "application/octet-stream" {
		fmt.Fprintf(&b, "(bytes)\n")
		return b.String()
	}
	text := string(body)
	text = strings.ReplaceAll(text, resp.Header.Get("X-Request-Id"), "REQUEST")
	text = strings.ReplaceAll(text, "http://"+resp.Request.URL.Host, "http://SERVER")
	text = regexp.MustCompile(`/logs/[0-9a-f]{64}`).ReplaceAllString(text, "/logs/KEY")
	text = regexp.MustCompile(`go1\.\d+(\.\d+)?`).ReplaceAllString(text, "GOVERSION")
	b.WriteString(text)
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Each answer of the GET path, as it stands on the wire.
func TestAnswersOnTheWire(t *testing.T) {
	server, _ := newServer(t, parts{config: service.Config{Version: service.Version{
		K6x: "v1.2.3", Go: []string{"go1.26.8"}, Engines: []string{"native"},
		Sandbox: service.Sandbox{State: "partial", Lacks: []string{"a mount namespace"}},
		Limits:  service.Limits{MaxBuilds: 2, Queue: 64, BuildTimeout: 900, PerBuild: k6x.Limits{k6x.LimitMemory: 4 << 30, k6x.LimitCPU: 3600}},
	}}})
	_, first := do(t, "GET", server.URL+helloPath)
	resp, again := do(t, "GET", server.URL+helloPath)
	if !bytes.Equal(first, again) {
		t.Error("two answers differ")
	}
	etag := resp.Header.Get("Etag")
	for _, c := range []struct {
		name, method, path string
		headers            []string
	}{
		{"200-canonical", "GET", helloPath, nil},
		{"200-windows", "HEAD", "/windows/amd64/k6@v1.1.0,k6/x/hello@v0.1.1", nil},
		{"200-head", "HEAD", helloPath, nil},
		{"200-version", "GET", "/version", nil},
		{"206-range", "GET", helloPath, []string{"Range: bytes=10-19"}},
		{"301-not-canonical", "GET", "/linux/amd64/k6/x/hello@0.1.1,k6@1.1.0", nil},
		{"301-doubled-slash", "GET", "/" + helloPath, nil},
		{"304-etag", "GET", helloPath, []string{"If-None-Match: " + etag}},
		{"307-open", "GET", "/linux/amd64/k6/x/hello", nil},
		{"400-malformed", "GET", "/linux/amd64/k6@,k6/x/hello", nil},
		{"403-cgo", "GET", "/linux/amd64/k6@v1.1.0,k6/x/cgo@v0.1.0", nil},
		{"404-platform", "GET", "/linux/riscv64/k6", nil},
		{"404-version-as-platform", "GET", "/version/amd64/k6", nil},
		{"404-name", "GET", "/linux/amd64/k6/x/hallo", nil},
		{"404-version", "GET", "/linux/amd64/k6@v1.1.0,k6/x/hello@v7.0.0", nil},
		{"404-page", "GET", "/nothing", nil},
		{"404-log", "GET", "/logs/" + strings.Repeat("0", 64), nil},
		{"405-method", "DELETE", helloPath, nil},
		{"405-version", "POST", "/version", nil},
		{"409-conflict", "GET", "/linux/amd64/k6@v1.0.0,k6/x/newer@v0.2.0", nil},
		{"409-problem", "GET", "/linux/amd64/k6@v1.0.0,k6/x/newer@v0.2.0", []string{"Accept: application/problem+json"}},
		{"412-if-match", "GET", helloPath, []string{`If-Match: "zz"`}},
		{"416-range", "GET", helloPath, []string{"Range: bytes=999999999-"}},
		{"422-compile", "GET", "/linux/amd64/k6@v1.1.0,k6/x/broken@v0.1.0", nil},
		{"422-problem", "GET", "/linux/amd64/k6@v1.1.0,k6/x/broken@v0.1.0", []string{"Accept: application/json"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := do(t, c.method, server.URL+c.path, c.headers...)
			if !strings.HasPrefix(c.name, resp.Status[:3]) {
				t.Errorf("%s", resp.Status)
			}
			golden(t, c.name, wire(resp, body))
		})
	}
}

// What cannot be brought about at will is told by a builder that fails so.
func TestFailuresOfABuildOnTheWire(t *testing.T) {
	retry := k6x.Errorf(k6x.Busy, "2 builds are running and 64 are waiting; there is no room for more")
	retry.RetryAfter = 90 * time.Second
	for name, err := range map[string]error{
		"429-quota":       k6x.Errorf(k6x.Quota, "this client has 16 builds waiting"),
		"500-internal":    fmt.Errorf("open /secret/path: %w", os.ErrPermission),
		"503-busy":        retry,
		"503-unavailable": k6x.Errorf(k6x.Unavailable, "the module proxy does not answer"),
		"504-timeout":     k6x.Errorf(k6x.Timeout, "the build took longer than 15m0s"),
		"507-no-space":    k6x.Errorf(k6x.NoSpace, "there is no room to keep the binary"),
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := newServer(t, parts{builder: failing(err)})
			resp, body := do(t, "GET", server.URL+helloPath)
			if !strings.HasPrefix(name, resp.Status[:3]) {
				t.Errorf("%s", resp.Status)
			}
			golden(t, name, wire(resp, body))
		})
	}
}

func TestAPanicIsAFaultOfOursAndTheNextRequestWorks(t *testing.T) {
	panics := true
	server, _ := newServer(t, parts{builder: func(real builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			if panics {
				panics = false
				panic("secret")
			}
			return real.Build(ctx, job)
		})
	}})
	if resp, body := do(t, "GET", server.URL+helloPath); resp.StatusCode != 500 || strings.Contains(string(body), "secret") {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 {
		t.Errorf("%s after the panic", resp.Status)
	}
}

// A rule that is added later refuses what was built before it.
func TestRulesHoldForHits(t *testing.T) {
	store := bucket.Memory(bucket.Config{})
	server, _ := newServer(t, parts{config: service.Config{Store: store}})
	if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	strict, _ := newServer(t, parts{config: service.Config{Store: store}, filter: "[?tier=='community']"})
	if resp, body := do(t, "GET", strict.URL+helloPath); resp.StatusCode != 403 {
		t.Errorf("%s\n%s", resp.Status, body)
	}
}

// A path that was answered keeps its bytes, whatever new settings would make of it.
func TestAPathKeepsItsMeaning(t *testing.T) {
	store := bucket.Memory(bucket.Config{})
	server, _ := newServer(t, parts{config: service.Config{Store: store}})
	_, want := do(t, "GET", server.URL+helloPath)
	server, _ = newServer(t, parts{config: service.Config{Store: store}, builder: failing(k6x.Errorf(k6x.Internal, "must not build"))})
	if resp, got := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 || !bytes.Equal(got, want) {
		t.Errorf("%s", resp.Status)
	}
}

func TestDrainSendsWaitersAwayAndLetsHitsPass(t *testing.T) {
	waits := make(chan struct{})
	var real builder.Builder
	store := bucket.Memory(bucket.Config{})
	server, s := newServer(t, parts{config: service.Config{Store: store}, builder: func(b builder.Builder) builder.Builder {
		real = b
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			if job.Recipe.Platform.OS == "linux" {
				return real.Build(ctx, job)
			}
			close(waits)
			<-ctx.Done()
			return k6x.Artifact{}, ctx.Err()
		})
	}})
	if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	answered := make(chan *http.Response)
	go func() {
		resp, err := http.Get(server.URL + strings.Replace(helloPath, "linux", "darwin", 1))
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	<-waits
	s.Drain()
	if resp := <-answered; resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("who waits gets %s", resp.Status)
	}
	if resp, _ := do(t, "GET", server.URL+"/ready"); resp.StatusCode != 503 {
		t.Errorf("/ready: %s", resp.Status)
	}
	if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 {
		t.Errorf("a hit: %s", resp.Status)
	}
}

func TestMaxWaitRedirectsToItselfAndGivesUpInTheEnd(t *testing.T) {
	server, _ := newServer(t, parts{config: service.Config{MaxWait: time.Millisecond}, builder: func(builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, _ builder.Job) (k6x.Artifact, error) {
			<-ctx.Done()
			return k6x.Artifact{}, ctx.Err()
		})
	}})
	resp, _ := do(t, "GET", server.URL+helloPath)
	if resp.StatusCode != 307 || resp.Header.Get("Location") != helloPath+"?round=1" || resp.Header.Get("Cache-Control") != "no-cache, no-store" {
		t.Errorf("%s to %s (%s)", resp.Status, resp.Header.Get("Location"), resp.Header.Get("Cache-Control"))
	}
	// A client that follows ten redirects, as Go's does, must be told before it gives up.
	last, err := http.Get(server.URL + "/linux/amd64/k6@v1.1.0,k6/x/hello@v0.1.1")
	if err != nil {
		t.Fatal(err)
	}
	last.Body.Close()
	if last.StatusCode != 503 || last.Header.Get("Retry-After") == "" {
		t.Errorf("in the end: %s", last.Status)
	}
}

// Whatever the client sent, a redirect goes to this service; the rounds count also across
// the redirect to the canonical path.
func TestRoundsOfAnOpenRequest(t *testing.T) {
	// So little time that resolving has not begun when it is over.
	server, _ := newServer(t, parts{config: service.Config{MaxWait: time.Nanosecond}})
	for path, want := range map[string]string{
		"//linux/amd64/k6@%5E1.0":        "/linux/amd64/k6@%5E1.0?round=1",
		"/linux/amd64/k6@%5E1.0?round=3": "/linux/amd64/k6@%5E1.0?round=4",
	} {
		resp, _ := do(t, "GET", server.URL+path)
		if got := resp.Header.Get("Location"); resp.StatusCode != 307 || got != want {
			t.Errorf("%s: %s to %s, want %s", path, resp.Status, got, want)
		}
	}
	patient, _ := newServer(t, parts{})
	resp, _ := do(t, "GET", patient.URL+"/linux/amd64/k6/x/hello?round=3")
	if got, want := resp.Header.Get("Location"), helloPath+"?round=3"; got != want {
		t.Errorf("to %s, want %s", got, want)
	}
}

// Who has the bytes that were evicted here needs no build.
func TestNotModifiedWithoutTheBytes(t *testing.T) {
	store := bucket.Memory(bucket.Config{Size: 30_000_000}) // room for a few of the small binaries
	built := 0
	server, _ := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			built++
			return builder.Keep(engineOfZeros(20_000_000), store, nil).Build(ctx, job)
		})
	}})
	resp, _ := do(t, "GET", server.URL+helloPath)
	tag := resp.Header.Get("Etag")
	if resp, _ := do(t, "GET", server.URL+strings.Replace(helloPath, "linux", "darwin", 1)); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	for _, tags := range []string{tag, `"other", W/` + tag, "*"} {
		resp, _ := do(t, "GET", server.URL+helloPath, "If-None-Match: "+tags)
		if resp.StatusCode != 304 || resp.Header.Get("Etag") != tag || built != 2 {
			t.Errorf("%s: %s with tag %s after %d builds", tags, resp.Status, resp.Header.Get("Etag"), built)
		}
	}
	if resp, _ := do(t, "GET", server.URL+helloPath); resp.StatusCode != 200 || built != 3 {
		t.Errorf("%s after %d builds", resp.Status, built)
	}
}

// A body that is announced and never sent holds up nothing for long.
func TestAbsentBodyEnds(t *testing.T) {
	server, _ := newServer(t, quick(service.Config{Tokens: tokens(t)}))
	for request, status := range map[string]string{
		"GET /nothing": "404 Not Found", "GET /metrics": "200 OK", "PUT /build": "405 Method Not Allowed",
		"POST /build": "401 Unauthorized", "POST /resolve": "401 Unauthorized",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", request)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 "+status)) {
			t.Errorf("%s: %v, %q", request, err, answer)
		}
	}
}

func TestLatestMaxAgeLetsOpenAnswersBeCached(t *testing.T) {
	server, _ := newServer(t, parts{config: service.Config{LatestMaxAge: time.Minute}})
	resp, _ := do(t, "GET", server.URL+"/linux/amd64/k6/x/hello")
	if got := resp.Header.Get("Cache-Control"); got != "public, max-age=60" {
		t.Errorf("Cache-Control: %s", got)
	}
}

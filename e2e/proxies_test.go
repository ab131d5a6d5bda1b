package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Twenty-one ask for a URL that is cold, and the first of them goes away; twenty more
// ask later, some with a query. k6x builds once and sends once.
func TestCachesAskForAColdBinaryOnce(t *testing.T) {
	forFull(t)
	t.Parallel()
	for name, startCache := range caches {
		t.Run(name, func(t *testing.T) {
			program(t, name) // before much is built
			flags, list, open := gate(t)
			s := start(t, warmDir(t), flags...)
			base := startCache(t, s)
			ctx, leave := context.WithCancel(t.Context())
			left := make(chan error, 1)
			go func() {
				_, err := downloadFrom(ctx, base+host+list)
				left <- err
			}()
			eventually(t, "the build starts", func() bool { return s.metric(t, "k6x_builds_running") == 1 })
			leave()
			if err := <-left; err == nil {
				t.Error("the first client has got an answer before it went away")
			}
			go open()
			first := crowd(t, 20, base+host+list)
			later := crowd(t, 10, base+host+list)
			query := crowd(t, 10, base+host+list+"?round=3")
			if first != later || first != query {
				t.Errorf("%s at first, then %s and %s", first, later, query)
			}
			if builds, sent := s.metric(t, "k6x_builds_total"), s.sent(t); builds != 1 || sent != 1 {
				t.Errorf("%v builds, %d transfers", builds, sent)
			}
		})
	}
}

// What is no binary is asked of k6x each time, but for a redirect that is for ever.
func TestCachesKeepNoErrorAndNoAnswerToAnOpenRequest(t *testing.T) {
	forFull(t)
	t.Parallel()
	for name, startCache := range caches {
		t.Run(name, func(t *testing.T) {
			program(t, name)
			s := start(t, warmDir(t))
			base := startCache(t, s)
			long, longest := "k6@1.8.1", "k6@v1.8.1" // with a path near the limit, and so a key and a redirect of that length
			for i := range 60 {
				name := fmt.Sprintf(",k6/x/%s-%02d", strings.Repeat("name", 11), i)
				long, longest = long+name+"@1.0.0", longest+name+"@v1.0.0"
			}
			for path, want := range map[string]struct {
				status  int
				outcome string // k6x's word for it
				asked   int    // how many of two requests come to k6x
				to      string
			}{
				"k6@v1.8.1,k6/x/broken@v0.1.0": {422, "build_failed", 2, ""},
				"k6@v1.8.1,nosuch@v0.1.0":      {404, "not_found", 2, ""},
				"k6/x/redis":                   {307, "resolved", 2, host + redisList},
				"k6/x/redis@0.3.6,k6@1.8.1":    {301, "moved", 1, host + redisList},
				long:                           {301, "moved", 1, host + longest},
				// The same as its target once the escape is undone; kept under that name it would go round for ever.
				"k6@v1.8.1,k6/x/redis%40v0.3.6": {301, "moved", 2, host + redisList},
			} {
				before := s.answered(t, want.outcome)
				for i := range 2 {
					a := get(t, base+host+path)
					if a.status != want.status || a.header.Get("Location") != want.to || hit(a) != (i == 1 && want.asked == 1) {
						t.Errorf("%s: %d to %q, X-Cache %s, request %d\n%s",
							path, a.status, a.header.Get("Location"), a.header.Get("X-Cache"), i+1, tail(string(a.body), 300))
					}
					if cc := a.header.Get("Cache-Control"); want.asked == 2 && want.status != 301 && !strings.Contains(cc, "no-store") {
						t.Errorf("%s: Cache-Control %s", path, cc)
					}
				}
				if got := s.answered(t, want.outcome) - before; got != want.asked {
					t.Errorf("k6x answered %d of two requests for %s", got, path)
				}
			}
			// Those who wait for a build that fails are all told, and none of them has to start another.
			before := s.metric(t, "k6x_builds_total")
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					a, err := try(t.Context(), http.MethodGet, base+host+"k6@v1.8.1,k6/x/broken@v0.1.0,k6/x/two@v0.2.0")
					if err != nil || a.status != http.StatusUnprocessableEntity {
						t.Errorf("%d, %v", a.status, err)
					}
				})
			}
			wg.Wait()
			if got := s.metric(t, "k6x_builds_total") - before; got != 1 {
				t.Errorf("%v builds", got)
			}
			checkFront(t, s, base)
		})
	}
}

func hit(a answer) bool { return a.header.Get("X-Cache") == "HIT" }

func TestCachesServePartsAndConditionsThemselves(t *testing.T) {
	t.Parallel()
	for name, startCache := range caches {
		t.Run(name, func(t *testing.T) {
			program(t, name)
			s := start(t, warmDir(t))
			base := startCache(t, s)
			// A part of what is cold brings the whole into the cache.
			part := get(t, base+host+redisList, "Range: bytes=1000-1999")
			whole := fetch(t, base+host+redisList)
			etag := whole.header.Get("Etag")
			if part.status != 206 || string(part.body) != string(whole.body[1000:2000]) || hit(part) || !hit(whole) {
				t.Errorf("a Range of what is cold: %d with %d bytes, X-Cache %s, then %s",
					part.status, len(part.body), part.header.Get("X-Cache"), whole.header.Get("X-Cache"))
			}
			for _, c := range []struct {
				method string
				header string
				status int
				body   []byte
			}{
				{"HEAD", "Accept: */*", 200, nil},
				{"GET", "Range: bytes=1000-1999", 206, whole.body[1000:2000]},
				{"GET", "Range: bytes=12345678-", 206, whole.body[12345678:]},
				{"GET", "If-None-Match: " + etag, 304, nil},
			} {
				a, err := try(t.Context(), c.method, base+host+redisList, c.header)
				if err != nil || a.status != c.status || string(a.body) != string(c.body) || !hit(a) || a.header.Get("Etag") != etag {
					t.Errorf("%s, %s: %d with %d bytes, X-Cache %s, ETag %s, %v",
						c.method, c.header, a.status, len(a.body), a.header.Get("X-Cache"), a.header.Get("Etag"), err)
				}
			}
			if got := s.sent(t); got != 1 {
				t.Errorf("%d transfers of one binary", got)
			}
			credentials := get(t, base+host+redisList, "Authorization: Bearer x")
			if checkBinary(t, base, credentials); hit(credentials) || s.sent(t) != 2 {
				t.Errorf("a request with credentials is answered from the cache (%d transfers)", s.sent(t))
			}
			// HEAD of what is cold is kept as well, with the bytes.
			url := base + host + "k6@v1.8.1,k6/x/two@v0.2.0"
			head, err := try(t.Context(), http.MethodHead, url)
			whole = fetch(t, url)
			if err != nil || head.status != 200 || head.header.Get("Content-Length") != strconv.Itoa(len(whole.body)) || !hit(whole) || s.sent(t) != 3 {
				t.Errorf("HEAD of what is cold: %d, %s bytes, %v; then X-Cache %s, %d transfers", head.status,
					head.header.Get("Content-Length"), err, whole.header.Get("X-Cache"), s.sent(t))
			}
		})
	}
}

// checkFront checks what every proxy has to do: keep metrics to itself, and tell k6x who asks.
func checkFront(t *testing.T, s *k6x, base string) {
	t.Helper()
	for _, path := range []string{"/metrics", "/metrics?x=1", "//metrics", "/%6detrics", "/linux/../metrics"} {
		if a := get(t, base+path); strings.Contains(string(a.body), "k6x_builds_total") {
			t.Errorf("%s shows the metrics", path)
		}
	}
	get(t, base+"/alive", "X-Forwarded-For: 192.0.2.7")
	eventually(t, "k6x logs the address of the client", func() bool { return strings.Contains(s.log.String(), "client=192.0.2.7") })
}

// With --max-wait, a client which follows redirects gets its binary from behind a proxy that
// gives up long before the build has ended, and the cache keeps none of the redirects.
func TestMaxWaitOutlivesTheTimeoutOfAProxy(t *testing.T) {
	forFull(t)
	t.Parallel()
	impatience := map[string][]string{
		"nginx":    {"proxy_read_timeout 1h", "proxy_read_timeout 6s", "proxy_cache_lock_timeout 1h", "proxy_cache_lock_timeout 4s"},
		"varnishd": {"first_byte_timeout = 1h", "first_byte_timeout = 6s"},
	}
	for name, startCache := range caches {
		t.Run(name, func(t *testing.T) {
			program(t, name)
			flags, list, open := gate(t)
			s := start(t, warmDir(t), append(flags, "--max-wait", "4s")...)
			base := startCache(t, s, impatience[name]...)
			digests := make(chan string, 2)
			for range cap(digests) {
				go func() { digests <- crowd(t, 1, base+host+list) }()
			}
			// Two rounds are longer than the patience of the proxy.
			eventually(t, "each client is sent round twice", func() bool { return s.answered(t, "waiting") >= 2*cap(digests) })
			open()
			for range cap(digests) {
				if got, want := <-digests, fetch(t, s.url+host+list).digest(); got != want {
					t.Errorf("%s through the proxy, %s from k6x", got, want)
				}
			}
			if got := s.metric(t, "k6x_builds_total"); got != 1 {
				t.Errorf("%v builds", got)
			}
		})
	}
}

func TestCaddyfileIsValid(t *testing.T) {
	caddy := program(t, "caddy")
	for _, site := range []string{"", "SITE=builds.example.com", "SITE=http://:8080"} {
		dir := t.TempDir()
		cmd := exec.Command(caddy, "validate", "--config", "../Caddyfile.example", "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), site, "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Valid configuration") {
			t.Errorf("%s: %v\n%s", site, err, out)
		}
	}
}

func TestCaddyServesAsK6xDoes(t *testing.T) {
	program(t, "caddy")
	flags, list, open := gate(t)
	s := start(t, warmDir(t), flags...)
	base := startCaddy(t, s, "http://"+freeAddr(t))

	built := make(chan string, 1)
	go func() { built <- crowd(t, 1, base+host+list) }()
	eventually(t, "the build starts", func() bool { return s.metric(t, "k6x_builds_running") == 1 })
	open()
	direct := fetch(t, s.url+host+list)
	if got := <-built; got != direct.digest() {
		t.Errorf("%s through Caddy, %s from k6x", got, direct.digest())
	}
	etag := direct.header.Get("Etag")
	whole := get(t, base+host+list)
	if checkBinary(t, base, whole); whole.header.Get("Content-Length") != strconv.Itoa(len(direct.body)) || whole.header.Get("Content-Encoding") != "" {
		t.Errorf("length %s, coding %q", whole.header.Get("Content-Length"), whole.header.Get("Content-Encoding"))
	}
	if part := get(t, base+host+list, "Range: bytes=1000-1999"); part.status != 206 || string(part.body) != string(direct.body[1000:2000]) {
		t.Errorf("a Range: %d with %d bytes", part.status, len(part.body))
	}
	if same := get(t, base+host+list, "If-None-Match: "+etag); same.status != 304 {
		t.Errorf("If-None-Match: %d", same.status)
	}
	for path, want := range map[string]int{"k6/x/redis": 307, "k6/x/redis@0.3.6,k6@1.8.1": 301, "k6@v1.8.1,k6/x/redis%40v0.3.6": 301} {
		if a := get(t, base+host+path); a.status != want || a.header.Get("Location") != host+redisList {
			t.Errorf("%s: %d to %s", path, a.status, a.header.Get("Location"))
		}
	}
	if a := get(t, base+host+"k6@v1.8.1,k6/x/broken@v0.1.0"); a.status != 422 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("what does not compile: %d", a.status)
	}
	checkFront(t, s, base)
	eventually(t, "Caddy asks whether k6x is ready", func() bool { return strings.Contains(s.log.String(), "path=/ready") })
}

func TestCaddySpeaksTLSAndNewerHTTP(t *testing.T) {
	program(t, "caddy")
	s := start(t, warmDir(t))
	_, port, _ := net.SplitHostPort(freeAddr(t))
	base := startCaddy(t, s, "https://localhost:"+port, "{\n\tservers {", "{\n\tauto_https disable_redirects\n\tskip_install_trust\n\tservers {")
	resp, err := anyCertificate().Get(base + host + redisList)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, resp.Body); err != nil || resp.Header.Get("Etag") != `"`+hex.EncodeToString(sum.Sum(nil))+`"` {
		t.Errorf("%d, ETag %s, %v", resp.StatusCode, resp.Header.Get("Etag"), err)
	}
	if resp.ProtoMajor != 2 || !strings.Contains(resp.Header.Get("Alt-Svc"), "h3=") {
		t.Errorf("%s, Alt-Svc %q", resp.Proto, resp.Header.Get("Alt-Svc"))
	}
}

// A worker dials in through whatever is in front of the service, and stays there.
func TestWorkersDialInThroughProxies(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("worker-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fronts := maps.Clone(caches)
	fronts["caddy"] = func(t *testing.T, s *k6x, edits ...string) string {
		return startCaddy(t, s, "http://"+freeAddr(t), edits...)
	}
	for name, start := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := launch(t, serviceCommand(coldDir(t), "--workers", "--worker-token-file", token, "--build-here=false"))
			attend(t, exec.Command(world.program, "worker", start(t, s), "--token-file", token, "--name", "w1", "--cache-dir", coldDir(t)))
			eventually(t, "the service has the worker", func() bool { return strings.Contains(get(t, s.url+"/status.json").text(), `"state": "idle"`) })
		})
	}
}

package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/goproxytest"
)

// caches are the programs that keep what k6x sends. Each is started with the configuration that is
// shown, in front of a service, and gives the URL to ask; the edits are pairs of what is in
// that configuration and what to put there.
var caches = map[string]func(t *testing.T, s *k6x, edits ...string) string{"nginx": startNginx, "varnishd": startVarnish}

func startNginx(t *testing.T, s *k6x, edits ...string) string {
	nginx, addr, dir := program(t, "nginx"), freeAddr(t), t.TempDir()
	conf := edited(t, "../examples/nginx.conf", append(edits, "127.0.0.1:8787", s.addr(), "listen 8080;", "listen "+addr+";")...)
	directives := "daemon off;"
	if os.Getuid() == 0 {
		directives += " user root;" // or the workers may not enter the directory
	}
	return serve(t, "http://"+addr, exec.Command(nginx, "-e", "stderr", "-p", dir, "-c", conf, "-g", directives))
}

func startVarnish(t *testing.T, s *k6x, edits ...string) string {
	varnishd, addr, dir := program(t, "varnishd"), freeAddr(t), t.TempDir()
	_, port, _ := net.SplitHostPort(s.addr())
	vcl := edited(t, "../examples/varnish.vcl", append(edits, `"8787"`, `"`+port+`"`)...)
	return serve(t, "http://"+addr, exec.Command(varnishd, "-F", "-j", "none", "-n", dir, "-f", vcl, "-a", addr,
		"-s", "file,"+filepath.Join(dir, "store")+",1G"))
}

func startCaddy(t *testing.T, s *k6x, site string, edits ...string) string {
	caddy := program(t, "caddy")
	conf := edited(t, "../Caddyfile.example", edits...)
	dir := t.TempDir()
	cmd := exec.Command(caddy, "run", "--config", conf, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "SITE="+site, "UPSTREAM="+s.addr(), "CADDY_ADMIN=127.0.0.1:0",
		"HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	return serve(t, site, cmd)
}

func (s *k6x) addr() string { return strings.TrimPrefix(s.url, "http://") }

// freeAddr returns an address that nothing listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func listens(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	return err == nil && conn.Close() == nil
}

// edited returns the name of a copy of a file in which pairs of words, each found
// exactly once, are replaced.
func edited(t *testing.T, file string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(string(text), pairs[i]); n != 1 {
			t.Fatalf("%s has %q %d times", file, pairs[i], n)
		}
	}
	copied := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(copied, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	return copied
}

// serve runs a proxy until the test ends, and returns base as soon as k6x answers behind it.
func serve(t *testing.T, base string, cmd *exec.Cmd) string {
	t.Helper()
	gone := attend(t, cmd)
	eventually(t, "k6x answers through "+filepath.Base(cmd.Path), func() bool {
		select {
		case <-gone:
			t.Fatalf("%s ended", cmd.Path)
		default:
		}
		resp, err := anyCertificate().Get(base + "/alive")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return base
}

// attend runs a server until the test ends; what it returns is closed when the server is gone.
func attend(t *testing.T, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	log := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		<-gone
		late.Stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cmd.Path, tail(log.String(), 4000))
		}
	})
	return gone
}

func eventually(t testing.TB, what string, happens func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	patience := 2 * time.Minute
	if nightly { // when the real k6 is built from nothing
		patience = 10 * time.Minute
	}
	deadline := time.After(patience)
	for !happens() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func anyCertificate() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
}

// answered returns how many requests k6x has answered with one of the outcomes.
func (s *k6x) answered(t *testing.T, outcomes ...string) int {
	t.Helper()
	metrics, sum := get(t, s.url+"/metrics"), 0
	for _, m := range regexp.MustCompile(`(?m)^k6x_requests_total\{outcome="(\w+)"\} (\d+)$`).FindAllStringSubmatch(string(metrics.body), -1) {
		if slices.Contains(outcomes, m[1]) {
			n, _ := strconv.Atoi(m[2])
			sum += n
		}
	}
	return sum
}

// sent returns how many binaries k6x has sent.
func (s *k6x) sent(t *testing.T) int { return s.answered(t, "built", "hit") }

// gate returns the flags of a service and a list whose build lasts until open is called:
// the source of one of its extensions is held back.
func gate(t *testing.T) (flags []string, list string, open func()) {
	t.Helper()
	const of, to = "ext.example/xk6-one", "ext.example/xk6-slow"
	text, err := os.ReadFile("../testdata/ext/ext.example_xk6-one_v0.1.0.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir, version := t.TempDir(), fmt.Sprintf("v0.0.%d", gates.Add(1)) // one that is in no module cache yet
	text = []byte(strings.NewReplacer(of, to, "v0.1.0", version).Replace(string(text)))
	if err := os.WriteFile(filepath.Join(dir, "ext.example_xk6-slow_"+version+".txtar"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	modules, err := goproxytest.NewServer(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(modules.Close)
	target, err := url.Parse(modules.URL)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{})
	open = sync.OnceFunc(func() { close(opened) })
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".zip") {
			<-opened
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(open)
	return []string{"--allow-modules", "ext.example/*", "--env", "GOPROXY=" + server.URL + "," + goproxy()}, "k6@v1.8.1," + to + "@" + version, open
}

var gates atomic.Int64 // how many there were

// download is an answer of which only the digest is kept.
type download struct {
	status int
	header http.Header
	digest string
}

func downloadFrom(ctx context.Context, url string) (download, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return download{}, err
	}
	resp, err := anyCertificate().Do(req)
	if err != nil {
		return download{}, err
	}
	defer resp.Body.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, resp.Body)
	return download{resp.StatusCode, resp.Header, hex.EncodeToString(sum.Sum(nil))}, err
}

// crowd has n clients ask for one URL at once, and checks that all get the whole binary.
func crowd(t *testing.T, n int, url string) (digest string) {
	t.Helper()
	all := make([]download, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = downloadFrom(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, d := range all {
		if d.status != http.StatusOK || `"`+d.digest+`"` != d.header.Get("Etag") || d.digest != all[0].digest {
			t.Errorf("%s: %d, digest %s, ETag %s; the first had %s", url, d.status, d.digest, d.header.Get("Etag"), all[0].digest)
		}
	}
	return all[0].digest
}

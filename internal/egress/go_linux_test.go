package egress_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
	"k6x/gotool"
	"k6x/internal/egress"
)

// world is an internet of a few hosts, all of them served by one server here.
type world struct {
	addrs map[string]string // by name
	pages map[string]func(http.ResponseWriter, *http.Request)
	raw   map[string]string // host:port for those that are not served by it
	at    string
	repos string        // a directory with git repositories
	idle  time.Duration // after which connections to it end

	mu   sync.Mutex
	seen []string // names of hosts that were connected to
}

const publicAddr = "93.184.216.34"

// newWorld serves hosts; certificates tells programs to believe it.
func newWorld(t *testing.T, addrs map[string]string) (w *world, certificates []string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	for name := range addrs {
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	w = &world{addrs: addrs, pages: map[string]func(http.ResponseWriter, *http.Request){}, raw: map[string]string{}, repos: t.TempDir(), idle: time.Minute}
	server := httptest.NewUnstartedServer(w)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	w.at = server.Listener.Addr().String()
	return w, []string{"SSL_CERT_FILE=" + file, "GIT_SSL_CAINFO=" + file}
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if page, ok := w.pages[r.Host]; ok {
		page(rw, r)
		return
	}
	http.NotFound(rw, r)
}

func (w *world) dial(ctx context.Context, address string, permit func(netip.Addr) error) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	addr, ok := w.addrs[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if permit != nil {
		if err := permit(netip.MustParseAddr(addr)); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	w.seen = append(w.seen, host)
	w.mu.Unlock()
	at, ok := w.raw[host]
	if !ok {
		at = w.at
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", at)
}

// connected returns how many connections there were to a host.
func (w *world) connected(host string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, name := range w.seen {
		if name == host {
			n++
		}
	}
	return n
}

// imports is a page that says where the modules of a host are.
func imports(prefix, vcs, url string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<meta name="go-import" content="%s %s %s">`, prefix, vcs, url)
	}
}

// repository makes a git repository of a module with one version, below /git/ of any host.
func (w *world) repository(t *testing.T, name, module, version string) {
	t.Helper()
	dir := filepath.Join(w.repos, name)
	for name, text := range map[string]string{"go.mod": "module " + module + "\n", "x.go": "package x\n"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=me", "-c", "user.email=me@example.com", "commit", "-qm", "x"}, {"tag", version}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
}

// git serves repositories, and page for what is not below /git/.
func (w *world) git(t *testing.T, page func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	handler := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Root: "/git",
		Env: []string{"GIT_PROJECT_ROOT=" + w.repos, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}, Stderr: io.Discard}
	return func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/git/") {
			handler.ServeHTTP(rw, r)
			return
		}
		page(rw, r)
	}
}

// fetcher is a go command whose way to the network is a proxy, and its caches.
type fetcher struct {
	tool *gotool.Tool
	dirs gotool.Dirs
}

// newFetcher returns one with nothing set but env and direct.
func newFetcher(t *testing.T, w *world, direct []string, env ...string) fetcher {
	t.Helper()
	nothing := []string{"GOPROXY=", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB=", "GOINSECURE=", "GOVCS=", "GOAUTH=", "GOSUMDB=off"}
	tool, err := gotool.Find(t.Context(), append(nothing, env...), direct)
	if err != nil {
		t.Fatal(err)
	}
	if tool.Egress, err = egress.StartIn(tool.Fetch, w.dial, w.idle); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tool.Egress.Close() })
	dir := t.TempDir()
	f := fetcher{tool, gotool.Dirs{Home: filepath.Join(dir, "home"), ModCache: filepath.Join(dir, "mod"), Cache: filepath.Join(dir, "cache"), Temp: dir}}
	if err := gotool.MakeHome(f.dirs.Home); err != nil {
		t.Fatal(err)
	}
	return f
}

// download has the go command fetch a module, and returns what it prints if it fails.
func (f fetcher) download(t *testing.T, module string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), f.tool.Path, "mod", "download", "-modcacherw", module)
	cmd.Dir = t.TempDir()
	cmd.Env = f.tool.Env(f.dirs)
	var said bytes.Buffer
	cmd.Stderr = &said
	err = cmd.Run()
	return said.String(), err
}

// fails checks that a module cannot be fetched, and why.
func (f fetcher) fails(t *testing.T, module string, kind k6x.Kind, words ...string) {
	t.Helper()
	output, err := f.download(t, module)
	if err == nil {
		t.Fatalf("%s was fetched", module)
	}
	told := f.tool.Egress.Explain(output)
	if told == nil || told.Kind != kind {
		t.Fatalf("%s: %v\nexplained as %v", module, output, told)
	}
	for _, word := range words {
		if !strings.Contains(told.Message, word) {
			t.Errorf("%s: %q does not say %q", module, told.Message, word)
		}
	}
}

func TestModulesDoNotChooseTheirHostsUnlessTheOperatorSaysSo(t *testing.T) {
	t.Parallel()
	w, env := newWorld(t, map[string]string{"proxy.golang.org": publicAddr, "mod.example": publicAddr})
	w.repository(t, "x", "mod.example/x", "v0.1.0")
	w.pages["mod.example"] = w.git(t, imports("mod.example/x", "git", "https://mod.example/git/x"))
	f := newFetcher(t, w, nil, env...)
	if output, err := f.download(t, "mod.example/x@v0.1.0"); err == nil || !strings.Contains(output, "404") {
		t.Errorf("%v: %s", err, output)
	}
	if w.connected("mod.example") != 0 || w.connected("proxy.golang.org") == 0 {
		t.Errorf("connected to %v", w.seen)
	}
	// What is set stays as set.
	f = newFetcher(t, w, nil, append(env, "GOPROXY=https://proxy.golang.org,direct")...)
	if output, err := f.download(t, "mod.example/x@v0.1.0"); err != nil {
		t.Errorf("%v: %s", err, output)
	}
	if w.connected("mod.example") == 0 {
		t.Errorf("connected to %v", w.seen)
	}
}

func TestPrivateHostsAreReachedIfTheyAreNamed(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1", "fd00::1"} {
		w, env := newWorld(t, map[string]string{"proxy.golang.org": publicAddr, "git.corp.example": addr})
		w.repository(t, "x", "git.corp.example/x", "v0.1.0")
		w.pages["git.corp.example"] = w.git(t, imports("git.corp.example/x", "git", "https://git.corp.example/git/x"))
		f := newFetcher(t, w, nil, append(env, "GOPROXY=https://proxy.golang.org,direct")...)
		f.fails(t, "git.corp.example/x@v0.1.0", k6x.Forbidden, "git.corp.example", "--direct")
		f.fails(t, "git.corp.example/x.git@v0.1.0", k6x.Forbidden, "git.corp.example", "--direct") // by git at once
		if w.connected("git.corp.example") != 0 {
			t.Errorf("%s was connected to", addr)
		}
		for name, f := range map[string]fetcher{
			"--direct":  newFetcher(t, w, []string{"git.corp.example/*"}, env...),
			"GOPRIVATE": newFetcher(t, w, nil, append(env, "GOPRIVATE=*.corp.example")...),
			"GONOPROXY": newFetcher(t, w, nil, append(env, "GONOPROXY=git.corp.example")...),
		} {
			if output, err := f.download(t, "git.corp.example/x@v0.1.0"); err != nil {
				t.Errorf("%s, %s: %v: %s", addr, name, err, output)
			}
		}
	}
}

// A public host may point to others: by a redirect, or by where it says that the module is.
func TestHostsThatOthersPointToAreJudgedToo(t *testing.T) {
	t.Parallel()
	w, env := newWorld(t, map[string]string{"mod.example": publicAddr, "inside.example": "10.0.0.1"})
	w.repository(t, "x", "mod.example/x", "v0.1.0")
	serve := w.git(t, http.NotFound)
	w.pages["inside.example"] = serve
	for name, page := range map[string]func(http.ResponseWriter, *http.Request){
		"a repository elsewhere":   imports("mod.example/x", "git", "https://inside.example/git/x"),
		"a module proxy elsewhere": imports("mod.example/x", "mod", "https://inside.example/"),
		"a redirect":               http.RedirectHandler("https://inside.example/", http.StatusFound).ServeHTTP,
		"a redirect of git": func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/git/") {
				http.Redirect(rw, r, "https://inside.example"+r.URL.String(), http.StatusFound)
				return
			}
			imports("mod.example/x", "git", "https://mod.example/git/x")(rw, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.pages["mod.example"] = page
			f := newFetcher(t, w, nil, append(env, "GOPROXY=direct")...)
			f.fails(t, "mod.example/x@v0.1.0", k6x.Forbidden, "inside.example", "--direct")
			if w.connected("inside.example") != 0 {
				t.Error("it was connected to")
			}
		})
	}
	w.pages["mod.example"] = imports("mod.example/x", "git", "https://inside.example/git/x")
	f := newFetcher(t, w, []string{"inside.example"}, append(env, "GOPROXY=direct")...)
	if output, err := f.download(t, "mod.example/x@v0.1.0"); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

func TestGitUsesEncryptedProtocolsOnly(t *testing.T) {
	t.Parallel()
	w, env := newWorld(t, map[string]string{"mod.example": publicAddr})
	for _, url := range []string{"http://mod.example/git/x", "ssh://mod.example/git/x", "git://mod.example/git/x", "file:///git/x"} {
		w.pages["mod.example"] = imports("mod.example/x", "git", url)
		f := newFetcher(t, w, nil, append(env, "GOPROXY=direct")...)
		if output, err := f.download(t, "mod.example/x@v0.1.0"); err == nil || !strings.Contains(output, "insecure") && !strings.Contains(output, "invalid") && !strings.Contains(output, "not allowed") {
			t.Errorf("%s: %v: %s", url, err, output)
		}
	}
}

func TestFetchingFromASilentHostEndsAndIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are made, and nobody takes them
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, prepare := range map[string]func(w *world){
		"it accepts and says nothing": func(w *world) { w.raw["mod.example"] = silent.Addr().String() },
		"it answers no request":       func(w *world) { w.pages["mod.example"] = hang },
		"it stops half-way": func(w *world) {
			w.pages["mod.example"] = func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(rw, "<html>")
				_ = http.NewResponseController(rw).Flush()
				hang(rw, r)
			}
		},
		"its repository answers no request": func(w *world) {
			w.pages["mod.example"] = func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("go-get") {
					imports("mod.example/x", "git", "https://mod.example/git/x")(rw, r)
					return
				}
				hang(rw, r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, env := newWorld(t, map[string]string{"mod.example": publicAddr})
			w.idle = 500 * time.Millisecond
			prepare(w)
			f := newFetcher(t, w, nil, append(env, "GOPROXY=direct")...)
			f.fails(t, "mod.example/x@v0.1.0", k6x.Unavailable, "mod.example did not answer and is left alone for ten minutes")
			before := w.connected("mod.example")
			f.fails(t, "mod.example/y@v0.1.0", k6x.Unavailable, "mod.example did not answer and is left alone for ten minutes")
			if n := w.connected("mod.example"); n != before || n == 0 {
				t.Errorf("%d connections, then %d", before, n)
			}
		})
	}
}

// The secret is for the programs that are started, and nobody else sees it.
func TestSecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	w, env := newWorld(t, map[string]string{"mod.example": "10.0.0.1"})
	f := newFetcher(t, w, nil, append(env, "GOPROXY=direct")...)
	environ := f.tool.Egress.Environ()
	_, url, _ := strings.Cut(environ[slices.IndexFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, "HTTPS_PROXY=") })], "=")
	secret, _, _ := strings.Cut(strings.TrimPrefix(url, "http://k6x:"), "@")
	for _, module := range []string{"mod.example/x@v0.1.0", "mod.example/x.git@v0.1.0"} {
		if output, _ := f.download(t, module); strings.Contains(output, secret) || secret == "" {
			t.Errorf("%q is in %s", secret, output)
		}
	}
}

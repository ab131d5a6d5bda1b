//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k6x/cache"
	"k6x/cmd/internal/app"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// running is a service in a process of its own.
type running struct {
	url, dir string
	cmd      *exec.Cmd
	log      lockedBuffer
	ended    chan error
}

type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// warmDir returns a cache directory with the standard library compiled.
func warmDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := warmcache.CopyStandard(app.GoCache(dir)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// serve starts a service by a shell that does something before; modules are what it builds of, "" the stand-ins. It is nil if the service does
// not start, with what it says.
func serve(t *testing.T, before, modules, dir string, args ...string) (s *running, said string) {
	t.Helper()
	if modules == "" {
		modules = testmod.Serve(t, "../../testdata/standin")
	}
	file := filepath.Join(t.TempDir(), "registry.json")
	if err := os.WriteFile(file, []byte(registry), 0o644); err != nil {
		t.Fatal(err)
	}
	s = &running{dir: dir, ended: make(chan error, 1)}
	args = append([]string{"-c", before + "\nexec k6x service --addr 127.0.0.1:0 --cache-dir \"$0\" \"$@\"", dir, "--registry", file}, args...)
	s.cmd = exec.Command("sh", args...)
	s.cmd.Env = append(os.Environ(), "GOPROXY="+modules, "GOSUMDB=off")
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, out)
		s.ended <- s.cmd.Wait()
	}()
	if s.url = regexp.MustCompile(`http://\S+`).FindString(line); s.url == "" {
		<-s.ended
		return nil, s.log.String()
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		if text := s.log.String(); t.Failed() {
			t.Logf("log:\n%s", text[max(0, len(text)-6000):])
		}
	})
	return s, ""
}

func mustServe(t *testing.T, before, modules, dir string, args ...string) *running {
	t.Helper()
	s, said := serve(t, before, modules, dir, args...)
	if s == nil {
		t.Fatalf("it does not start:\n%s", said)
	}
	return s
}

const pinned = "k6@v1.0.0,k6/x/hello@v0.1.0"

// path returns the path of a list for this machine.
func path(list string) string { return "/" + runtime.GOOS + "/" + runtime.GOARCH + "/" + list }

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func ask(ctx context.Context, client *http.Client, url string) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return a, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// get wants a status.
func (s *running) get(t *testing.T, path string, status int) string {
	t.Helper()
	a, err := ask(t.Context(), http.DefaultClient, s.url+path)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != status {
		t.Fatalf("%s: %d, want %d\n%.2000s", path, a.status, status, a.body)
	}
	return string(a.body)
}

func (s *running) eventually(t *testing.T, what string, happens func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !happens(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen: " + what)
		}
	}
}

// stop ends the service, which has to end well.
func (s *running) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := <-s.ended
	s.ended <- err
	if err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// wantWholeOrLater fails unless an answer is the whole binary, or asks to come back.
func wantWholeOrLater(t *testing.T, a answer, digest string) (whole bool) {
	t.Helper()
	sum := sha256.Sum256(a.body)
	switch {
	case a.status == http.StatusOK && (digest == "" || hex.EncodeToString(sum[:]) == digest):
		return true
	case (a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests) && a.header.Get("Retry-After") != "":
	default:
		t.Errorf("%d with %d bytes: %.300q", a.status, len(a.body), a.body)
	}
	return false
}

// The process may have few files open: clients beyond that wait or come back, and builds, status and metrics do not notice.
func TestManyDownloadsWithFewOpenFiles(t *testing.T) {
	// More bytes than the buffers of a connection take, or a download ends that no client has read.
	large := "-- x.go --\npackage hello\n\nimport (\n\t_ \"embed\"\n\n\t\"go.k6.io/k6/js/modules\"\n)\n\n//go:embed text\nvar text string\n\n" +
		"func init() { modules.Register(\"k6/x/hello\", text) }\n-- text --\n" + strings.Repeat("many bytes\n", 800<<10)
	modules := testmod.ServeFiles(t, map[string]string{"example.com/xk6-hello@v0.1.0": large},
		"../../testdata/standin/go.k6.io_k6_v1.0.0.txtar", "../../testdata/standin/example.com_xk6-world_v0.1.0.txtar", "../../testdata/standin/example.com_greeting_v1.0.0.txtar")
	s := mustServe(t, "ulimit -n 256", modules, warmDir(t), "--compress", "none")
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1<<20) })
	}}
	want := sha256.Sum256([]byte(s.get(t, path(pinned), http.StatusOK)))
	digest := hex.EncodeToString(want[:])
	const crowd = 400
	release := make(chan struct{})
	var clients sync.WaitGroup
	var mu sync.Mutex // guards whole
	reading := make(chan struct{}, 8)
	whole := 0
	for range crowd {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DialContext: small.DialContext}} // a connection of its own
			defer client.CloseIdleConnections()
			resp, err := client.Get(s.url + path(pinned))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			a := answer{status: resp.StatusCode, header: resp.Header}
			if a.status == http.StatusOK { // it reads a little and waits, as a slow client does
				a.body = make([]byte, 1<<10)
				_, err = io.ReadFull(resp.Body, a.body)
				<-release
			}
			reading <- struct{}{} // as all of them are much memory
			defer func() { <-reading }()
			rest, readErr := io.ReadAll(resp.Body)
			if err != nil || readErr != nil {
				t.Error(err, readErr)
				return
			}
			a.body = append(a.body, rest...)
			mu.Lock()
			defer mu.Unlock()
			if wantWholeOrLater(t, a, digest) {
				whole++
			}
		})
	}
	s.eventually(t, "downloads fill all places", func() bool { return descriptors(s.cmd.Process.Pid) > 100 })
	s.get(t, "/ready", http.StatusOK)
	s.get(t, "/metrics", http.StatusOK)
	built := make(chan answer, 1)
	go func() {
		a, err := ask(context.Background(), http.DefaultClient, s.url+"/build?k6=v1.0.0&dep=k6%2Fx%2Fworld%3Av0.1.0&platform="+runtime.GOOS+"%2F"+runtime.GOARCH)
		if err != nil {
			a.body = []byte(err.Error())
		}
		built <- a
	}()
	if a := <-built; a.status != http.StatusOK || !strings.Contains(string(a.body), "checksum") {
		t.Errorf("a build meanwhile: %d %.500s", a.status, a.body)
	}
	close(release)
	clients.Wait()
	if whole < crowd/10 {
		t.Errorf("%d of %d clients have the binary", whole, crowd)
	}
	s.get(t, path(pinned), http.StatusOK)
	if text := s.log.String(); strings.Contains(text, "too many open files") {
		t.Errorf("files ran out")
	}
}

// descriptors returns how many files a process has open, many where that is not known.
func descriptors(pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 1 << 20
	}
	return len(entries)
}

// Package e2e tests k6x as its users meet it: the real program, the real go command,
// the real k6 from the module proxy.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/goproxytest"

	"k6x/internal/chromiumtest"
	"k6x/internal/warmcache"
)

const (
	redisList = "k6@v1.8.1,k6/x/redis@v0.3.6"
	host      = "/" + runtime.GOOS + "/" + runtime.GOARCH + "/"
)

// full is the mode of continuous integration: a program that is missing is a failure.
var full = os.Getenv("K6X_TEST_FULL") != ""

// nightly is the mode in which what takes very long is run, too.
var nightly = os.Getenv("K6X_TEST_NIGHTLY") != ""

// world is what the tests share: the program, a module proxy with the extensions of
// testdata, and one cache directory in which the real k6 was built.
var world struct {
	dir     string // removed at the end
	program string
	k6build string
	env     []string
	warm    func() string // the cache directory in which the real k6 was built
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		fmt.Println("SKIPPED: -short leaves out all that builds the real k6")
		return 0
	}
	dir, err := os.MkdirTemp("", "k6x-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer removeAll(dir)
	world.dir, world.program, world.k6build = dir, filepath.Join(dir, "k6x"), filepath.Join(dir, "k6build")
	if out, err := exec.Command("go", "build", "-o", dir, "k6x/cmd/k6x", "k6x/cmd/k6build").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	modules, err := goproxytest.NewServer("../testdata/ext", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer modules.Close()
	proxy, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	world.env = append(os.Environ(), "GOPROXY="+modules.URL+","+strings.TrimSpace(string(proxy)), "GONOSUMDB=ext.example")
	world.warm = sync.OnceValue(func() string { return filepath.Join(dir, "warm") })
	code := m.Run()
	chromiumtest.Stop()
	if err := podman.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// forFull leaves a long test to continuous integration: quicker tests show most of the same, with stand-ins for k6.
func forFull(t *testing.T) {
	t.Helper()
	if !full {
		t.Skip("SKIPPED: it takes long, and is left to K6X_TEST_FULL=1")
	}
}

func removeAll(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o755) // a module cache is read-only
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}

// program returns the path of a program that is not part of Go, or skips the test.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if full {
			t.Fatalf("%s is not on PATH", name)
		}
		t.Skipf("SKIPPED: %s is not on PATH; what it checks was not checked", name)
	}
	return path
}

// k6x is a running service.
type k6x struct {
	url   string
	cache string
	cmd   *exec.Cmd
	log   *lockedBuffer
	gone  chan struct{}
	err   error
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

// coldDir returns a cache directory with nothing in it.
func coldDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(world.dir, "cache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(dir) })
	return dir
}

// warmDir returns a cache directory with an empty store, but with Go's caches of a
// service that has built the real k6.
func warmDir(t testing.TB) string {
	t.Helper()
	warmUp(t)
	dir := coldDir(t)
	if err := os.Symlink(filepath.Join(world.warm(), "go"), filepath.Join(dir, "go")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var warming sync.Mutex // guards the warm directory while it is cold

// warmUp starts from the Go caches of a service that built the real k6 with nothing at hand, in this process or an earlier one.
func warmUp(t testing.TB) {
	t.Helper()
	warming.Lock()
	defer warming.Unlock()
	if _, err := os.Stat(world.warm()); err == nil {
		return
	}
	if err := warmcache.CopyK6(world.warm(), world.program); err != nil {
		t.Fatal(err)
	}
	s := start(t, world.warm())
	fetch(t, s.url+host+redisList)
	s.stop(t)
	if found := leftovers(t, world.warm()); len(found) > 0 {
		t.Errorf("left over: %v", found)
	}
}

// start starts a service on a cache directory and waits until it listens.
func start(t testing.TB, cacheDir string, args ...string) *k6x {
	t.Helper()
	s := launch(t, serviceCommand(cacheDir, args...))
	s.cache = cacheDir
	return s
}

// logged returns the log of the service with all that it has done until now: lines come out a moment later.
func (s *k6x) logged(t testing.TB) string {
	t.Helper()
	mark := rand.Text()
	get(t, s.url+"/alive", "User-Agent: "+mark)
	eventually(t, "the log is written", func() bool { return strings.Contains(s.log.String(), mark) })
	return s.log.String()
}

// serviceCommand is the command of a service on a port of its own.
func serviceCommand(cacheDir string, args ...string) *exec.Cmd {
	return exec.Command(world.program, append([]string{"service", "--addr", "127.0.0.1:0", "--cache-dir", cacheDir,
		"--registry", "../testdata/registry.json"}, args...)...)
}

// launch starts a server that says on its first line where it listens.
func launch(t testing.TB, cmd *exec.Cmd) *k6x {
	t.Helper()
	s := &k6x{cmd: cmd, log: &lockedBuffer{}, gone: make(chan struct{})}
	if cmd.Env == nil {
		cmd.Env = world.env
	}
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		s.err = s.cmd.Wait()
		close(s.gone)
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of the service on %s:\n%s", s.url, tail(s.log.String(), 6000))
		}
	})
	s.url = regexp.MustCompile(`http://\S+`).FindString(line)
	if s.url == "" {
		<-s.gone
		t.Fatalf("the service does not start: %v\n%s", s.err, s.log)
	}
	return s
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (s *k6x) kill() {
	_ = s.cmd.Process.Kill()
	<-s.gone
}

// stop asks the service to stop and waits until it has.
func (s *k6x) stop(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.gone
	if s.err != nil {
		t.Fatalf("the service ends with %v\n%s", s.err, tail(s.log.String(), 3000))
	}
}

// metric returns the value of a metric without labels, or the sum over its labels.
func (s *k6x) metric(t testing.TB, name string) float64 {
	t.Helper()
	resp, err := http.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sum, found := 0.0, false
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		metric, value, ok := strings.Cut(lines.Text(), " ")
		base, _, _ := strings.Cut(metric, "{")
		if !ok || base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, found = sum+v, true
	}
	if !found && !strings.HasSuffix(name, "_failed_total") {
		t.Fatalf("no metric %s", name)
	}
	return sum
}

// peakMemory returns the most memory in bytes that the service ever had resident.
func (s *k6x) peakMemory(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		if full {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: peak memory is read from /proc: %v", err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// answer is a response whose body was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) digest() string {
	sum := sha256.Sum256(a.body)
	return hex.EncodeToString(sum[:])
}

// text returns what the answer says; binaries are not fit to be printed.
func (a answer) text() string {
	if a.header.Get("Content-Type") == "application/octet-stream" {
		return fmt.Sprintf("(%d bytes)", len(a.body))
	}
	return string(a.body[max(0, len(a.body)-4000):])
}

// direct is a client that follows no redirect.
var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// get sends one GET and follows no redirect. The headers are Name: value.
func get(t testing.TB, url string, headers ...string) answer {
	t.Helper()
	a, err := try(t.Context(), http.MethodGet, url, headers...)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return a
}

func try(ctx context.Context, method, url string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := direct.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, err
}

// fetch gets a binary and fails the test on anything but a whole one.
func fetch(t testing.TB, url string) answer {
	t.Helper()
	a := get(t, url)
	checkBinary(t, url, a)
	return a
}

func checkBinary(t testing.TB, url string, a answer) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("GET %s: %d\n%s", url, a.status, a.text())
	}
	if got := `"` + a.digest() + `"`; got != a.header.Get("Etag") {
		t.Fatalf("GET %s: the digest %s is not the ETag %s", url, got, a.header.Get("Etag"))
	}
}

// run runs a binary that was fetched and returns what it prints.
func run(t testing.TB, binary []byte, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "k6")
	if err := os.WriteFile(file, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, file, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("k6 %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// goproxy returns the module proxies of the world, as the value of GOPROXY.
func goproxy() (list string) {
	for _, v := range world.env {
		if name, value, _ := strings.Cut(v, "="); name == "GOPROXY" {
			list = value // the last one wins
		}
	}
	return list
}

// leftovers returns the files in the parts of a cache directory that must be empty
// when nothing is under way. What is learned from a build, after its answer, is waited for.
func leftovers(t testing.TB, cacheDir string) []string {
	t.Helper()
	eventually(t, "the builds in "+cacheDir+" to be over", func() bool { return len(filesIn(t, cacheDir, "go/work")) == 0 })
	return storeLeftovers(t, cacheDir)
}

// storeLeftovers is [leftovers] without those of builds, for services that share Go's caches
// with others that build.
func storeLeftovers(t testing.TB, cacheDir string) (found []string) {
	t.Helper()
	for _, part := range []string{"store/tmp", "near-*/tmp", "k6x-*"} {
		found = append(found, filesIn(t, cacheDir, part)...)
	}
	return found
}

// filesIn returns the files but for locks below the directories that match a pattern.
func filesIn(t testing.TB, cacheDir, pattern string) (found []string) {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(cacheDir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		_ = filepath.WalkDir(part, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != "lock" {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

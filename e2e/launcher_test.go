package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// tester is somebody with k6x on PATH, a home of their own, and perhaps a service.
type tester struct {
	t    testing.TB
	home string
	env  []string
}

// newTester returns a tester with a directory of binaries that is empty, and with no program but k6x on PATH.
func newTester(t testing.TB, env ...string) *tester {
	t.Helper()
	home := t.TempDir()
	bin := filepath.Join(home, "path")
	for _, err := range []error{
		os.Mkdir(bin, 0o755), os.Symlink(world.program, filepath.Join(bin, "k6x")),
		os.WriteFile(filepath.Join(home, "script.js"), []byte(redisScript), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	u := &tester{t: t, home: home}
	u.env = append([]string{"HOME=" + home, "PATH=" + bin, "NO_COLOR=1", "K6_NO_USAGE_REPORT=true"}, env...)
	return u
}

// withGo gives the tester the programs of this machine, and Go's caches of the tests.
func (u *tester) withGo() *tester {
	registry, err := filepath.Abs("../testdata/registry.json")
	if err != nil {
		u.t.Fatal(err)
	}
	u.env = append(append(world.env[:len(world.env):len(world.env)], u.env...), "PATH="+os.Getenv("PATH"),
		"K6X_CACHE_DIR="+warmDir(u.t), "K6X_REGISTRY="+registry)
	return u
}

func (u *tester) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, world.program, args...)
	cmd.Dir, cmd.Env = u.home, append(u.env, "K6X_BIN_DIR="+u.bin())
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (u *tester) bin() string { return filepath.Join(u.home, "bin") }

// run runs k6x and returns what the user sees, and the exit code.
func (u *tester) run(args ...string) (terminal string, code int) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 15*time.Minute) // a cold build in a container is the longest
	defer cancel()
	cmd := u.command(ctx, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		u.t.Fatalf("k6x %s: %v, %v\n%s", strings.Join(args, " "), err, ctx.Err(), out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// works runs a command line that has to succeed and to print words.
func (u *tester) works(words []string, args ...string) {
	u.t.Helper()
	out, code := u.run(args...)
	for _, want := range words {
		if !strings.Contains(out, want) {
			u.t.Errorf("it does not say %q", want)
		}
	}
	if code != 0 || u.t.Failed() {
		u.t.Fatalf("k6x %s: exit code %d\n%s", strings.Join(args, " "), code, tail(out, 4000))
	}
}

// kept returns the executables that are kept.
func (u *tester) kept() []string {
	names, err := filepath.Glob(filepath.Join(u.bin(), "k6-*", "k6"))
	if err != nil {
		u.t.Fatal(err)
	}
	return names
}

// digest returns that of the only executable that is kept.
func (u *tester) digest() string {
	u.t.Helper()
	kept := u.kept()
	if len(kept) != 1 {
		u.t.Fatalf("kept: %q", kept)
	}
	body, err := os.ReadFile(kept[0])
	if err != nil {
		u.t.Fatal(err)
	}
	return (answer{body: body}).digest()
}

var redisWorks = []string{"the client is a function"}

func TestLauncherHasTheBytesOfTheService(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	want := fetch(t, s.url+host+redisList).digest()

	u := newTester(t, "K6X_BUILDER_SERVICE="+s.url)
	u.works(redisWorks, "run", "--quiet", "--builder", "service", "script.js")
	if got := u.digest(); got != want {
		t.Errorf("from the service: %s, the path of the list gives %s", got, want)
	}
	u.works([]string{"k6 v1.8.1", "xk6-redis v0.3.6", u.bin()}, "version", "--with", "k6/x/redis")
	for _, word := range []string{"archive", "inspect"} {
		u.works(nil, word, "script.js")
	}
	u.works(redisWorks, "run", "-q", "archive.tar")
	s.stop(t)
	u.works(redisWorks, "run", "--quiet", "script.js") // nobody is left to ask

	u = newTester(t).withGo()
	u.works(redisWorks, "run", "--quiet", "--builder", "native", "script.js")
	if got := u.digest(); got != want {
		t.Errorf("built here: %s, the path of the list gives %s", got, want)
	}
}

// isDownload reports whether a request is for the bytes of a binary, not for its versions or the progress of its build.
func isDownload(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/k6@v") && !strings.HasPrefix(r.URL.Path, "/progress/")
}

// front is a proxy in front of a service that counts downloads, and may do harm.
func front(t *testing.T, service string, harm func(w http.ResponseWriter, r *http.Request, next http.Handler)) (address string, downloads *atomic.Int64) {
	t.Helper()
	target, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	next := httputil.NewSingleHostReverseProxy(target)
	next.ErrorLog = nil
	downloads = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isDownload(r) {
			downloads.Add(1)
		}
		if harm != nil {
			harm(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL, downloads
}

func TestTenLaunchersDownloadOnce(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	address, downloads := front(t, s.url, nil)
	u := newTester(t, "K6X_BUILDER_SERVICE="+address)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			out, code := u.run("run", "--quiet", "script.js")
			if code != 0 || !strings.Contains(out, redisWorks[0]) {
				t.Errorf("exit code %d\n%s", code, tail(out, 2000))
			}
		})
	}
	all.Wait()
	if n := downloads.Load(); n != 1 {
		t.Errorf("%d downloads", n)
	}
	u.digest()
}

func TestLauncherThatIsKilledInTheDownload(t *testing.T) {
	forFull(t)
	t.Parallel()
	s := start(t, warmDir(t))
	half := make(chan struct{})
	var once sync.Once
	address, _ := front(t, s.url, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		stall := false
		if isDownload(r) {
			once.Do(func() { stall = true })
		}
		if !stall {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		close(half)
		<-r.Context().Done()
	})
	u := newTester(t, "K6X_BUILDER_SERVICE="+address)
	cmd := u.command(t.Context(), "run", "--quiet", "script.js")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	select {
	case err := <-gone:
		t.Fatalf("it ended before the download: %v", err)
	case <-half:
	}
	_ = cmd.Process.Kill()
	<-gone
	if kept := u.kept(); len(kept) != 0 {
		t.Errorf("kept after the kill: %q", kept)
	}
	u.works(redisWorks, "run", "--quiet", "script.js")
	if left, _ := filepath.Glob(filepath.Join(u.bin(), ".work", "tmp", "*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// What a service does wrong is told, nothing of it is run, and the next builder is asked.
func TestLauncherAndServicesThatFail(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	digest := fetch(t, s.url+host+redisList).digest()
	download := func(change func(w http.ResponseWriter, body []byte)) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !isDownload(r) {
				next.ServeHTTP(w, r)
				return
			}
			if r.Header.Get("Range") != "" { // it gets no further
				panic(http.ErrAbortHandler)
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			for name, values := range rec.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(rec.Code)
			change(w, rec.Body.Bytes())
		}
	}
	page := []byte("<html>" + strings.Repeat("x", 1000))
	cases := map[string]struct {
		harm func(http.ResponseWriter, *http.Request, http.Handler)
		says string
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusInternalServerError)
		}, "500"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }, "does not answer"},
		"truncates": {download(func(w http.ResponseWriter, body []byte) {
			_, _ = w.Write(body[:len(body)/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}), "no answer"},
		"other bytes": {download(func(w http.ResponseWriter, body []byte) {
			body = bytes.Clone(body)
			body[len(body)/2] ^= 1
			_, _ = w.Write(body)
		}), "has the digest"},
		"a page with its digest": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !strings.Contains(r.URL.Path, redisList) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("ETag", `"`+(answer{body: page}).digest()+`"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(page)))
			_, _ = w.Write(page)
		}, "it is no Go program"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if name == "hangs" {
				t.Parallel() // it is noticed after some 20 s
			}
			address, _ := front(t, s.url, c.harm)
			u := newTester(t, "K6X_BUILDER_SERVICE="+address).withGo()
			out, code := u.run("run", "--quiet", "--builder", "service", "script.js")
			if code != 1 || !strings.Contains(out, c.says) || len(u.kept()) != 0 {
				t.Errorf("exit code %d, kept %q\n%s", code, u.kept(), tail(out, 2000))
			}
			if name == "hangs" {
				return
			}
			u.works(append([]string{"trying native instead", c.says}, redisWorks...), "run", "--builder", "service,native", "script.js")
			if got := u.digest(); got != digest {
				t.Errorf("runs %s", got)
			}
		})
	}
}

// Signals reach k6, its exit code comes back, and stdin is its own.
func TestLauncherBecomesK6(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	u := newTester(t, "K6X_BUILDER_SERVICE="+s.url)
	sleeps := "import { sleep } from 'k6'; export default function () { console.log('it sleeps'); sleep(60); }\n"
	if err := os.WriteFile(filepath.Join(u.home, "sleeps.js"), []byte(redisScript[:strings.Index(redisScript, "\n")+1]+sleeps), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := u.command(t.Context(), "run", "--quiet", "sleeps.js")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = write, write
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		write.Close()
		var seen strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(seen.String(), "it sleeps") {
			n, err := read.Read(buf)
			seen.Write(buf[:n])
			if err != nil {
				t.Fatalf("%v\n%s", err, seen.String())
			}
		}
		_ = cmd.Process.Signal(signal)
		_, _ = io.Copy(io.Discard, read)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 105 { // as k6 documents it
			t.Errorf("%v: exit code %d\n%s", signal, code, seen.String())
		}
	}
	cmd := u.command(t.Context(), "run", "--quiet", "-")
	cmd.Stdin = strings.NewReader(redisScript)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), redisWorks[0]) {
		t.Errorf("in a pipe: %v\n%s", err, tail(string(out), 2000))
	}
	if out, code := u.run("run", "--no-such-flag", "script.js"); code == 0 || !strings.Contains(out, "no-such-flag") {
		t.Errorf("exit code %d\n%s", code, tail(out, 2000))
	}
}

// The flags of k6 that take a value have to be known, to find the script among them. The test that
// holds them against a k6 is beside them.
func TestTheFlagsOfK6AreKnown(t *testing.T) {
	forFull(t)
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "RealK6", "-v", "k6x/launcher/command")
	cmd.Env = append(os.Environ(), "K6X_TEST_K6="+stockK6(t))
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS")) || bytes.Contains(out, []byte("SKIP")) {
		t.Errorf("%v\n%s", err, tail(string(out), 3000))
	}
}

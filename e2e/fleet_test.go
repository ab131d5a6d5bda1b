//go:build linux

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// fleet is services with workers, all of them processes, that build a stand-in for k6 with extensions of a few lines. They share Go's caches.
type fleet struct {
	t          *testing.T
	env        []string // of all processes
	caches     string   // directory of Go's
	token      string   // file
	extensions int
	patient    bool     // clients come again if they are told to
	args       []string // of services
	asked      atomic.Int32
	urls       []string // of the services

	mu       sync.Mutex // guards what follows
	services []*k6x
	workers  []*worker      // also those that have ended
	digests  map[int]string // of combinations
}

// worker is a machine of a fleet.
type worker struct {
	name  string
	cache string
	wire  *wire // to its service; nil: it has none
	cmd   *exec.Cmd
	log   *lockedBuffer
	gone  chan struct{}
}

const workerToken = "a-token-of-workers"

// newFleet returns a fleet with nobody in it, for so many extensions, whose services have these flags.
func newFleet(t *testing.T, extensions int, args ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, caches: coldDir(t), extensions: extensions, token: filepath.Join(t.TempDir(), "token"), args: args, digests: make(map[int]string)}
	if err := errors.Join(warmcache.CopyStandard(filepath.Join(f.caches, "gocache")), os.WriteFile(f.token, []byte(workerToken+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	modules := make(map[string]string)
	for i := range extensions {
		modules[module(i)] = fmt.Sprintf("-- e.go --\npackage e\n\nimport \"go.k6.io/k6/js/modules\"\n\nfunc init() { modules.Register(\"k6/x/e%d\", 0) }\n", i)
	}
	f.env = slices.Concat(os.Environ(), bucketEnv, []string{"GOPROXY=" + testmod.ServeFiles(t, modules, "../testdata/standin/go.k6.io_k6_v1.0.0.txtar"), "GOSUMDB=off"})
	return f
}

func module(i int) string { return fmt.Sprintf("example.com/xk6-e%02d@v0.1.0", i) }

// list returns the extensions of a combination, which are the bits of its number.
func (f *fleet) list(n int) (list []string) {
	for i := range f.extensions {
		if n&(1<<i) != 0 {
			list = append(list, module(i))
		}
	}
	return list
}

func (f *fleet) path(n int) string {
	return host + strings.Join(append([]string{"k6@v1.0.0"}, f.list(n)...), ",")
}

// dir returns an empty cache directory with Go's caches of the fleet.
func (f *fleet) dir() string {
	f.t.Helper()
	dir := coldDir(f.t)
	if err := os.Symlink(f.caches, filepath.Join(dir, "go")); err != nil {
		f.t.Fatal(err)
	}
	return dir
}

// serve starts a service that builds nothing itself.
func (f *fleet) serve() *k6x { return f.serveAt("127.0.0.1:0") }

func (f *fleet) serveAt(addr string) *k6x {
	f.t.Helper()
	s := f.launch(f.dir(), addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services, f.urls = append(f.services, s), append(f.urls, s.url)
	return s
}

func (f *fleet) launch(dir, addr string) *k6x {
	f.t.Helper()
	cmd := serviceCommand(dir, append([]string{"--addr", addr, "--workers", "--worker-token-file", f.token, "--build-here=false", "--allow-modules", "example.com/*",
		"--queue", "40000", "--compress", "none"}, f.args...)...)
	cmd.Env = f.env
	s := launch(f.t, cmd)
	s.cache = dir
	return s
}

// restart kills a service, and starts it again after a while.
func (f *fleet) restart(n int, after time.Duration) {
	f.t.Helper()
	old := f.services[n]
	old.kill()
	time.Sleep(after)
	s := f.launch(old.cache, strings.TrimPrefix(old.url, "http://"))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services[n] = s
}

// work starts a worker of the service at a URL, to which it has a wire of its own. The name "" is a new one.
func (f *fleet) work(service, name string) *worker {
	f.t.Helper()
	wire, url := newWire(f.t, service)
	return f.run(&worker{name: name, wire: wire}, func(cmd *exec.Cmd) *exec.Cmd { return cmd }, url)
}

// run starts a worker of the service at a URL by a command that is made of its own.
func (f *fleet) run(w *worker, by func(*exec.Cmd) *exec.Cmd, service string) *worker {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	w.name = cmp.Or(w.name, fmt.Sprintf("w%d", len(f.workers)+1))
	w.cache, w.log, w.gone = f.dir(), &lockedBuffer{}, make(chan struct{})
	w.cmd = by(exec.Command(world.program, "worker", service, "--token-file", f.token, "--name", w.name, "--cache-dir", w.cache, "--max-builds", "1"))
	w.cmd.Env, w.cmd.Stderr = f.env, w.log
	if err := w.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.workers = append(f.workers, w)
	go func() {
		_ = w.cmd.Wait()
		close(w.gone)
	}()
	f.t.Cleanup(func() {
		w.kill()
		if f.t.Failed() {
			f.t.Logf("log of %s:\n%s", w.name, tail(w.log.String(), 3000))
		}
	})
	return w
}

func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	<-w.gone
}

// building returns the path of what a worker builds; "": nothing.
func (w *worker) building() (path string) {
	log := w.log.String()
	log = log[max(0, strings.LastIndex(log, "msg=building path=")):]
	line, rest, _ := strings.Cut(log, "\n")
	if _, path, _ = strings.Cut(line, "msg=building path="); strings.Contains(rest, path) { // and how that ended
		return ""
	}
	return path
}

// warm has all extensions compiled, and learned how to do without the go command.
func (f *fleet) warm() {
	f.t.Helper()
	fetch(f.t, f.urls[0]+f.path(1<<f.extensions-1))
	eventually(f.t, "a worker has learned", func() bool {
		kits, err := filepath.Glob(filepath.Join(f.caches, "kits", "*.json"))
		return err == nil && len(kits) > 0
	})
}

// said returns how often the workers' logs have something.
func (f *fleet) said(what string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.workers {
		n += strings.Count(w.log.String(), what)
	}
	return n
}

// lost returns how many builds the services have lost by their workers.
func (f *fleet) lost() (n int) {
	for _, s := range f.services {
		n += strings.Count(s.log.String(), "a build was lost by its worker")
	}
	return n
}

// ask has two clients ask each service for a combination: one that leaves soon, and one that comes again if the service dies. It
// returns when the other ones have the same binary, which is what they asked for.
func (f *fleet) ask(ctx context.Context, n int) {
	path := f.path(n)
	answers := make([]answer, len(f.urls))
	var all sync.WaitGroup
	for i, url := range f.urls {
		all.Go(func() {
			short, leave := context.WithTimeout(ctx, rand.N(5*time.Second))
			defer leave()
			_, _ = try(short, http.MethodGet, url+path)
		})
		all.Go(func() {
			var err error
			answers[i], err = try(ctx, http.MethodGet, url+path)
			for ctx.Err() == nil && (err != nil || f.patient && answers[i].status == http.StatusServiceUnavailable && answers[i].header.Get("Retry-After") != "") {
				<-time.After(200 * time.Millisecond)
				answers[i], err = try(ctx, http.MethodGet, url+path)
			}
			if a := answers[i]; err != nil || a.status != http.StatusOK || a.header.Get("Etag") != `"`+a.digest()+`"` {
				f.t.Errorf("%s: %v, %d %s", path, err, a.status, a.text())
			}
		})
	}
	all.Wait()
	for _, a := range answers {
		if got, want := extensionsIn(bytes.NewReader(a.body)), f.list(n); !slices.Equal(got, want) || a.digest() != answers[0].digest() {
			f.t.Errorf("%s: the digests are %s and %s, it has %s", path, a.digest(), answers[0].digest(), got)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.digests[n] = answers[0].digest()
}

// extensionsIn returns the extensions that a binary says it has.
func extensionsIn(binary io.ReaderAt) (list []string) {
	info, err := buildinfo.Read(binary)
	if err != nil {
		return []string{err.Error()}
	}
	for _, dep := range info.Deps {
		if strings.Contains(dep.Path, "xk6-") {
			list = append(list, dep.Path+"@"+dep.Version)
		}
	}
	return list
}

// waitLimit is longer than any client of a fleet waits for one build.
const waitLimit = 10 * time.Minute

// crowd has clients ask for the first so many combinations at once, until all are answered.
func (f *fleet) crowd(keys int) {
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Duration(max(1, keys/200))*waitLimit)
	defer cancel()
	var all sync.WaitGroup
	for n := 1; n <= keys; n++ {
		all.Go(func() { f.ask(ctx, n) })
	}
	all.Wait()
}

// during has clients ask for one combination after another while something goes on, until that has ended and all are answered.
func (f *fleet) during(clients int, something func()) {
	ended := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				n := int(f.asked.Add(1))
				if n >= 1<<f.extensions-1 {
					f.t.Error("there are not as many combinations")
					return
				}
				ctx, cancel := context.WithTimeout(f.t.Context(), waitLimit)
				f.ask(ctx, n)
				cancel()
			}
		})
	}
	defer func() {
		close(ended)
		all.Wait()
		f.t.Logf("%d combinations", f.asked.Load())
	}()
	something()
}

// check compares some of what was answered with what a service without workers builds, and that nobody was taken for a liar.
func (f *fleet) check() {
	f.t.Helper()
	for _, url := range f.urls {
		if text := get(f.t, url+"/status.json").text(); strings.Contains(text, `"quarantined"`) {
			f.t.Error(text)
		}
	}
	cmd := serviceCommand(f.dir(), "--allow-modules", "example.com/*")
	cmd.Env = f.env
	alone, left := launch(f.t, cmd), 5
	for n, digest := range f.digests { // in no order
		if got := fetch(f.t, alone.url+f.path(n)).digest(); got != digest {
			f.t.Errorf("%s: %s, and a service of its own builds %s", f.path(n), digest, got)
		}
		if left--; left == 0 {
			break
		}
	}
}

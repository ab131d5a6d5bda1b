package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// fleet is services with workers, all of them processes, that build a stand-in for k6 with extensions of a few lines. Go's caches they share.
type fleet struct {
	t          *testing.T
	env        []string // of all processes
	caches     string   // directory of Go's
	token      string   // file
	extensions int
	services   []*k6x

	mu      sync.Mutex // guards workers
	workers map[string]*worker
	named   int // workers until now
}

// worker is a machine of a fleet.
type worker struct {
	name string
	cmd  *exec.Cmd
	log  *lockedBuffer
	gone chan struct{}
}

// newFleet returns a fleet with nobody in it, for so many extensions.
func newFleet(t *testing.T, extensions int) *fleet {
	t.Helper()
	f := &fleet{t: t, caches: coldDir(t), extensions: extensions, token: filepath.Join(t.TempDir(), "token"), workers: make(map[string]*worker)}
	if err := errors.Join(warmcache.CopyStandard(filepath.Join(f.caches, "gocache")), os.WriteFile(f.token, []byte("a-token-of-workers\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	modules := make(map[string]string)
	for i := range extensions {
		modules[fmt.Sprintf("example.com/xk6-e%d@v0.1.0", i)] = fmt.Sprintf("-- e.go --\npackage e\n\nimport \"go.k6.io/k6/js/modules\"\n\nfunc init() { modules.Register(\"k6/x/e%d\", 0) }\n", i)
	}
	f.env = slices.Concat(os.Environ(), bucketEnv, []string{"GOPROXY=" + testmod.ServeFiles(t, modules, "../testdata/standin/go.k6.io_k6_v1.0.0.txtar"), "GOSUMDB=off"})
	return f
}

// list returns the n-th combination of extensions.
func (f *fleet) list(n int) string {
	list := "k6@v1.0.0"
	var names []string
	for i := range f.extensions {
		if n&(1<<i) != 0 {
			names = append(names, fmt.Sprintf("example.com/xk6-e%d@v0.1.0", i))
		}
	}
	slices.Sort(names)
	return host + strings.Join(append([]string{list}, names...), ",")
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
func (f *fleet) serve(args ...string) *k6x {
	f.t.Helper()
	dir := f.dir()
	cmd := serviceCommand(dir, append([]string{"--workers", "--worker-token-file", f.token, "--build-here=false", "--allow-modules", "example.com/*",
		"--queue", "4000", "--compress", "none"}, args...)...)
	cmd.Env = f.env
	s := launch(f.t, cmd)
	s.cache = dir
	f.services = append(f.services, s)
	return s
}

// work starts a worker of a service, and waits until it has connected.
func (f *fleet) work(url string, args ...string) *worker {
	f.t.Helper()
	f.mu.Lock()
	f.named++
	w := &worker{name: fmt.Sprintf("w%d", f.named), log: &lockedBuffer{}, gone: make(chan struct{})}
	f.workers[w.name] = w
	f.mu.Unlock()
	w.cmd = exec.Command(world.program, append([]string{"worker", url, "--token-file", f.token, "--name", w.name, "--cache-dir", f.dir(), "--max-builds", "1"}, args...)...)
	w.cmd.Env, w.cmd.Stderr = f.env, w.log
	if err := w.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		_ = w.cmd.Wait()
		close(w.gone)
	}()
	f.t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-w.gone
		if f.t.Failed() {
			f.t.Logf("log of %s:\n%s", w.name, tail(w.log.String(), 300000))
		}
	})
	return w
}

// warm has all extensions compiled, and learned how to do without the go command.
func (f *fleet) warm() {
	f.t.Helper()
	fetch(f.t, f.services[0].url+f.list(1<<f.extensions-1))
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

// crowd has clients ask for each of the first so many combinations: at each service one that stays, and one that leaves soon. It returns when all are answered.
func (f *fleet) crowd(keys int) {
	ctx, cancel := context.WithTimeout(f.t.Context(), 15*time.Minute) // of a build
	defer cancel()
	digests := make([]sync.Map, keys+1)
	var all sync.WaitGroup
	for n := 1; n <= keys; n++ {
		for _, s := range f.services {
			all.Go(func() {
				a, err := try(ctx, http.MethodGet, s.url+f.list(n))
				if err != nil || a.status != http.StatusOK || a.header.Get("Etag") != `"`+a.digest()+`"` {
					f.t.Errorf("%s: %v, %d %s", f.list(n), err, a.status, a.text())
					return
				}
				digests[n].Store(a.digest(), true)
			})
			all.Go(func() {
				ctx, leave := context.WithTimeout(ctx, rand.N(5*time.Second))
				defer leave()
				_, _ = try(ctx, http.MethodGet, s.url+f.list(n))
			})
		}
	}
	all.Wait()
	for n := 1; n <= keys; n++ {
		answers := 0
		digests[n].Range(func(any, any) bool { answers++; return true })
		if answers != 1 {
			f.t.Errorf("%d different answers for %s", answers, f.list(n))
		}
	}
}

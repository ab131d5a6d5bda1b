//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k6x/internal/testmod"
	"k6x/service"
)

// gate is a module proxy in front of another one, which keeps those waiting who want files of a module while it is shut.
type gate struct {
	mu   sync.Mutex
	shut map[string]chan struct{} // by a part of the path
}

func newGate(t *testing.T) (*gate, string) {
	t.Helper()
	to, err := url.Parse(testmod.Serve(t, "../../testdata/standin"))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{shut: make(map[string]chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".zip") {
			g.mu.Lock()
			var wait chan struct{}
			for part, open := range g.shut {
				if strings.Contains(r.URL.Path, part) {
					wait = open
				}
			}
			g.mu.Unlock()
			if wait != nil {
				select {
				case <-wait:
				case <-r.Context().Done():
					return
				}
			}
		}
		r.Host = ""
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return g, server.URL
}

func (g *gate) close(part string) (open func()) {
	c := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut[part] = c
	return func() { close(c) }
}

// startWorker starts a worker in a process of its own.
func startWorker(t *testing.T, at, modules, name, token string) *running {
	t.Helper()
	return startWorkerIn(t, warmDir(t), at, modules, name, token)
}

func startWorkerIn(t *testing.T, dir, at, modules, name, token string, args ...string) *running {
	t.Helper()
	w := &running{dir: dir, ended: make(chan error, 1)}
	w.cmd = exec.Command("k6x", append([]string{"worker", at, "--token-file", token, "--name", name, "--cache-dir", w.dir, "--max-builds", "1"}, args...)...)
	w.cmd.Env = append(os.Environ(), "GOPROXY="+modules, "GOSUMDB=off")
	w.cmd.Stderr = &w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.ended <- w.cmd.Wait() }()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-w.ended
		if text := w.log.String(); t.Failed() {
			t.Logf("log of %s:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
	eventually(t, name+" connects", func() bool { return strings.Contains(w.log.String(), "msg=connected") })
	return w
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 600 {
		if holds() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s: it did not come to that", what)
}

// workers returns the workers of a service as /status has them, by name.
func workers(t *testing.T, at string) map[string]service.Worker {
	t.Helper()
	resp, err := http.Get(at + "/status.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var status service.Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]service.Worker)
	for _, pool := range status.Pools {
		for _, w := range pool.Workers {
			if pool.Name == "workers" {
				all[w.Name] = w
			}
		}
	}
	return all
}

// fetch gets a binary, and tells of what becomes of that.
func fetch(url string) <-chan error {
	done := make(chan error, 1)
	go func() {
		resp, err := http.Get(url)
		if err == nil {
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %.300s", resp.Status, text)
			}
		}
		done <- err
	}()
	return done
}

// Workers are processes of their own that are killed, as the service is.
func TestWorkersAndServiceAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it takes half a minute")
	}
	t.Parallel()
	gate, modules := newGate(t)
	dir, tokens, operators := warmDir(t), filepath.Join(t.TempDir(), "tokens"), filepath.Join(t.TempDir(), "operators")
	for file, text := range map[string]string{tokens: "worker-token\n", operators: "operator-token\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := []string{"--workers", "--worker-token-file", tokens, "--operator-token-file", operators, "--build-here=false", "--url", "http://example.com"}
	s := mustServe(t, "", modules, dir, flags...)
	all := map[string]*running{"w1": startWorker(t, s.url, modules, "w1", tokens), "w2": startWorker(t, s.url, modules, "w2", tokens)}
	if err := <-fetch(s.url + "/linux/amd64/k6@v1.0.0,k6/x/hello@v0.1.0"); err != nil {
		t.Fatal(err)
	}
	list, err := http.Get(s.url + "/builds.json")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(list.Body)
	_ = list.Body.Close()
	if !strings.Contains(string(text), `"worker": "w`) {
		t.Errorf("it is not told who built it: %s", text)
	}

	open := gate.close("xk6-world")
	done := fetch(s.url + "/linux/amd64/k6@v1.0.0,k6/x/world@v0.1.0")
	busy := ""
	eventually(t, "a worker builds", func() bool {
		for name, w := range workers(t, s.url) {
			if w.State == "busy" {
				busy = name
			}
		}
		return busy != ""
	})
	killed := time.Now()
	if err := all[busy].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"w1": "w2", "w2": "w1"}[busy]
	eventually(t, "the other one has it", func() bool { return workers(t, s.url)[other].State == "busy" })
	if took := time.Since(killed); took > 10*time.Second {
		t.Errorf("that took %s", took)
	}

	// The service is killed, too. The worker goes on, and its successor finds that.
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-done
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	s = mustServe(t, "", modules, dir, append(flags, "--addr", u.Host)...)
	done = fetch(s.url + "/linux/amd64/k6@v1.0.0,k6/x/world@v0.1.0")
	eventually(t, "the build is found", func() bool { return workers(t, s.url)[other].State == "busy" })
	open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if log := all[other].log.String(); strings.Count(log, "msg=building") > 2 || !strings.Contains(log, "a build goes on for another service") {
		t.Errorf("it was built again:\n%s", log)
	}

	// An operator looks, drains and revokes.
	k6x := func(args ...string) string {
		cmd := exec.Command("k6x", args...)
		cmd.Env = append(os.Environ(), "K6X_BUILDER_SERVICE="+s.url)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "error: " + string(out)
		}
		return string(out)
	}
	if out := k6x("workers", "drain", other, "--builder-token-file", tokens); !strings.Contains(out, "error:") || !strings.Contains(out, "--operator-token-file") || !strings.Contains(out, "by --builder-token-file") {
		t.Error("a worker's token is an operator's: " + out)
	}
	if out := k6x("workers", "drain", other, "--builder-token-file", operators); out != "" {
		t.Error(out)
	}
	out := k6x("workers")
	if !strings.Contains(out, other+"    drained") && !strings.Contains(out, other+"    away") || !strings.Contains(out, "by the operator") {
		t.Error(out)
	}
	if unknown := regexp.MustCompile(busy + `\s+away\s+-\s+-\s+-\s+-\s+-\s+0\s+0\s`); !unknown.MatchString(out) { // it was killed before this service started
		t.Error(out)
	}
	if out := k6x("workers", "revoke", other, "--builder-token-file", operators); out != "" {
		t.Error(out)
	}
	if err := <-all[other].ended; err == nil || !strings.Contains(all[other].log.String(), "revoked") {
		t.Errorf("%v\n%s", err, all[other].log.String())
	}
	all[other].ended <- nil

	// A second signal has a worker give its build back; after the first one it ends it.
	open = gate.close("xk6-world")
	third := startWorker(t, s.url, modules, "w3", tokens)
	done = fetch(s.url + "/linux/amd64/k6@v1.0.0,k6/x/hello@v0.1.0,k6/x/world@v0.1.0")
	drain := func(w *running, name string) {
		eventually(t, name+" builds", func() bool { return strings.Contains(w.log.String(), "msg=building") }) // the service says so before the worker knows
		if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" ends with its last build", func() bool { return strings.Contains(w.log.String(), "ends with its last build") })
	}
	drain(third, "w3")
	fourth := startWorker(t, s.url, modules, "w4", tokens)
	if err := third.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-third.ended; err != nil || !strings.Contains(third.log.String(), "given back") {
		t.Errorf("%v\n%s", err, third.log.String())
	}
	third.ended <- nil
	drain(fourth, "w4")
	open()
	if err := <-fourth.ended; err != nil || strings.Contains(fourth.log.String(), "given back") {
		t.Fatalf("%v\n%s", err, fourth.log.String())
	}
	fourth.ended <- nil
	if err := <-done; err != nil {
		t.Error(err)
	}
}

//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"k6x/cache"
	"k6x/history"
)

// emptyDir is t.TempDir for what may come to hold a module cache.
func emptyDir(t *testing.T) string {
	dir := t.TempDir()
	t.Cleanup(func() { _ = cache.RemoveAll(dir) })
	return dir
}

// build has a service build k6 v1.0.0 with an extension, whether it has that or not, and returns what came of it.
func (s *running) build(t *testing.T, extension, version string) *history.Result {
	t.Helper()
	body := fmt.Sprintf(`{"k6": "v1.0.0", "dependencies": [{"name": %q, "constraints": %q}], "platform": "%s/%s", "nocache": true}`, extension, version, runtime.GOOS, runtime.GOARCH)
	resp, err := http.Post(s.url+"/build", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	id := resp.Header.Get("K6x-Build")
	if id == "" || !strings.Contains(string(text), `"checksum"`) {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	result := new(history.Result)
	s.eventually(t, "its result is there", func() bool {
		if err := json.Unmarshal([]byte(s.get(t, "/builds/"+id+".json", http.StatusOK)), result); err != nil {
			t.Fatal(err)
		}
		return result.Outcome != history.Running
	})
	return result
}

// compiled returns how many packages were compiled for a result.
func compiled(r *history.Result) (n int64) {
	for _, step := range r.Steps {
		if step.Name == "compiling" {
			n += step.Done
		}
	}
	return n
}

// A worker with empty caches has what the service compiled.
func TestANewWorkerIsWarm(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds")
	}
	t.Parallel()
	_, modules := newGate(t)
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("worker-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustServe(t, "", modules, warmDir(t), "--workers", "--worker-token-file", tokens)
	first := s.build(t, "k6/x/hello", "v0.1.0")
	s.eventually(t, "what it compiled is offered", func() bool {
		names, _ := filepath.Glob(filepath.Join(s.dir, "offered", "index", "*"))
		return len(names) > 0
	})
	startWorkerIn(t, emptyDir(t), s.url, modules, "w1", tokens)
	again := s.build(t, "k6/x/hello", "v0.1.0")
	t.Logf("here %d packages, at the worker %d, in %v", compiled(first), compiled(again), again.Ended.Sub(again.Begun))
	if again.Worker != "w1" || again.Outcome != history.Built || again.Digest != first.Digest {
		t.Errorf("%+v, here it was %+v", again, first)
	}
	if n := compiled(again); n > 10 {
		t.Errorf("%d packages were compiled", n)
	}
	if resp, err := http.Get(s.url + "/worker/cache/index?prefix=index/a."); err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("who is no worker reads: %v, %v", resp, err)
	}
}

// What needs cgo is built where that may be, and only there.
func TestCgoIsForWorkersThatHaveIt(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds")
	}
	t.Parallel()
	_, modules := newGate(t)
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("worker-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustServe(t, "", modules, warmDir(t), "--cgo", "--workers", "--worker-token-file", tokens, "--build-here=false")
	startWorkerIn(t, warmDir(t), s.url, modules, "w1", tokens)
	startWorkerIn(t, warmDir(t), s.url, modules, "w2", tokens, "--cgo")
	if got := s.build(t, "k6/x/cgo", "v0.1.0"); got.Worker != "w2" || got.Outcome != history.Built {
		t.Errorf("%+v", got)
	}
	if w := workers(t, s.url)["w2"]; !slices.Contains(w.Toolchains, "cgo") {
		t.Errorf("%+v", w)
	}
}

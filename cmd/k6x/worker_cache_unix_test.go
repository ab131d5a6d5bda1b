//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"k6x/cache"
	"k6x/cmd/internal/app"
	"k6x/history"
	"k6x/internal/warmcache"
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

// A worker with empty caches has what the service compiled, which builds first for that.
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
	startWorkerIn(t, emptyDir(t), s.url, modules, "w1", tokens)
	s.eventually(t, "w1 is there", func() bool { return workers(t, s.url)["w1"].State == "idle" })
	first := s.build(t, "k6/x/hello", "v0.1.0")
	if first.Worker != "" {
		t.Fatalf("nothing was offered, and it was built by %s", first.Worker)
	}
	s.eventually(t, "what it compiled is offered", func() bool {
		names, _ := filepath.Glob(filepath.Join(s.dir, "offered", "index", "*"))
		return len(names) > 0
	})
	again := s.build(t, "k6/x/hello", "v0.1.0")
	t.Logf("here %d packages, at the worker %d, in %v", compiled(first), compiled(again), again.Ended.Sub(again.Begun))
	if again.Worker != "w1" || again.Outcome != history.Built || again.Digest != first.Digest {
		t.Errorf("%+v, here it was %+v", again, first)
	}
	read := regexp.MustCompile(`path=/worker/cache/packs/[0-9a-f]{64} status=200`)
	s.eventually(t, "the worker reads what was compiled", func() bool { return read.MatchString(s.log.String()) }) // how much of it in time is a matter of load
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

// A build cache that lies to two workers alike is found out by what one of them makes without it.
func TestAWorkerThatBelievedALieIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds")
	}
	t.Parallel()
	_, modules := newGate(t)
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("worker-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustServe(t, "", modules, warmDir(t), "--workers", "--worker-token-file", tokens, "--build-here=false", "--verify-workers", "100%")
	first, second := startWorkerIn(t, warmDir(t), s.url, modules, "w1", tokens), emptyDir(t)
	right := s.build(t, "k6/x/hello", "v0.1.0")
	lie(t, app.GoCache(first.dir), "k6 v1.0.0 (", "k6 v6.6.6 (")
	if err := os.CopyFS(app.GoCache(second), os.DirFS(app.GoCache(first.dir))); err != nil { // as if both had it of a third one
		t.Fatal(err)
	}
	if err := warmcache.CopyStandard(filepath.Join(app.GoDir(second), "gocache-alone")); err != nil {
		t.Fatal(err)
	}
	wrong := s.build(t, "out", "v0.1.0")
	startWorkerIn(t, second, s.url, modules, "w2", tokens)
	s.eventually(t, "w1 is quarantined", func() bool {
		w := workers(t, s.url)["w1"]
		return w.State == "quarantined" && slices.Equal(w.Unverified, []string{wrong.Path, right.Path}) // w2 has made that one alike, and is quarantined, too
	})
	entry := regexp.MustCompile(`"type":"quarantine","worker":"w1","reason":"the bytes of [^"]* by w1 differ from those by w2","unverified":\[.*` + regexp.QuoteMeta(wrong.Path))
	s.eventually(t, "the news say so", func() bool { return entry.MatchString(s.get(t, "/changes?since=0", http.StatusOK)) })
	list := exec.Command("k6x", "workers")
	list.Env = append(os.Environ(), "K6X_BUILDER_SERVICE="+s.url)
	if out, err := list.CombinedOutput(); err != nil || !strings.Contains(string(out), "unverified, of w1: "+strings.TrimPrefix(wrong.Path, "/")+"\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// lie changes what was compiled in a build cache.
func lie(t *testing.T, dir, old, new string) {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(text, []byte("!<arch>")) || !bytes.Contains(text, []byte(old)) {
			return err
		}
		found = true
		return os.WriteFile(path, bytes.ReplaceAll(text, []byte(old), []byte(new)), 0o644)
	})
	if err != nil || !found {
		t.Fatalf("%v, %v", err, found)
	}
}

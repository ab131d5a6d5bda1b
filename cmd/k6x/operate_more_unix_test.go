//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
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
	"testing"
	"time"

	"k6x/cmd/internal/app"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// A signal to stop while a build runs: its client is told to come back, and nothing is left of it.
func TestSignalToStopDuringABuild(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	source.WriteString("package slow\n\nimport _ \"go.k6.io/k6/cmd\"\n\n")
	for i := range 60_000 { // the compiler takes seconds for them
		fmt.Fprintf(&source, "func F%d(a, b int) int { if a > b { return a*%d + b }; return F%d(b, a) }\n", i, i, (i+1)%60_000)
	}
	modules := testmod.ServeFiles(t, map[string]string{"example.com/xk6-hello@v0.1.0": "-- a.go --\n" + source.String()},
		"../../testdata/standin/go.k6.io_k6_v1.0.0.txtar")
	dir := warmDir(t)
	s := mustServe(t, "", modules, dir)
	got := make(chan answer, 1)
	go func() {
		a, err := ask(context.Background(), http.DefaultClient, s.url+path(pinned))
		if err != nil {
			a.body = []byte(err.Error())
		}
		got <- a
	}()
	s.eventually(t, "the compiler runs", func() bool {
		a, err := ask(t.Context(), http.DefaultClient, s.url+"/progress"+path(pinned))
		return err == nil && strings.Contains(string(a.body), `"compiling"`)
	})
	s.stop(t)
	if a := <-got; a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "about to stop") {
		t.Errorf("%d: %s", a.status, a.body)
	}
	for _, pattern := range []string{"go/work/*", "store/tmp/*", "store/artifacts/*/*"} {
		if left, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left is %v, %v", left, err)
		}
	}
}

// A directory that turns read-only takes the builds away, not what is stored; a start there says which directory it is.
func TestReadOnlyCacheDirectory(t *testing.T) {
	dir := warmDir(t)
	s := mustServe(t, "", "", dir)
	s.get(t, path(pinned), http.StatusOK)
	s.stop(t)
	if err := exec.Command("mount", "--bind", dir, dir).Run(); err != nil {
		t.Skipf("SKIPPED: no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	s = mustServe(t, "", "", dir)
	if out, err := exec.Command("mount", "-o", "remount,bind,ro", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.get(t, path(pinned), http.StatusOK)
	a, err := ask(t.Context(), http.DefaultClient, s.url+path("k6@v1.0.0,k6/x/world@v0.1.0"))
	if err != nil || a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "read-only") || strings.Contains(string(a.body), dir) {
		t.Errorf("a build: %d %s, %v", a.status, a.body, err)
	}
	s.get(t, path(pinned), http.StatusOK)
	s.eventually(t, "/ready names the disk", func() bool {
		return strings.Contains(s.get(t, "/ready", http.StatusOK), "nothing can be written to the cache directory")
	})
	if s, said := serve(t, "", "", dir); s != nil || !strings.Contains(said, dir) || !strings.Contains(said, "read-only") {
		t.Errorf("it starts, or says %s", said)
	}
}

// What a build itself has no room for is made room for, in the store on the same disk and in what was compiled long ago.
func TestFullDiskOfTheCacheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := exec.Command("mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", dir).Run(); err != nil {
		t.Skipf("SKIPPED: no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	if err := warmcache.CopyStandard(app.GoCache(dir)); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(app.GoCache(dir), "00", "old") // what was compiled long ago
	err := errors.Join(os.WriteFile(old, make([]byte, 100<<20), 0o600), os.Chtimes(old, time.Unix(0, 0), time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	s := mustServe(t, "", "", dir, "--compress", "none")
	s.get(t, path(pinned), http.StatusOK)
	fill(t, filepath.Join(dir, "ballast"))
	s.get(t, path("k6@v1.0.0,k6/x/world@v0.1.0"), http.StatusOK)
	if text := s.log.String(); !strings.Contains(text, "was used longest ago is removed") {
		t.Error("it needed no room")
	}
	s.get(t, path(pinned), http.StatusOK)
}

// fill takes all room of a disk.
func fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

// A directory for temporary files that is full, or not there, is none of the service's.
func TestFullDirectoryForTemporaryFiles(t *testing.T) {
	temp := t.TempDir()
	if err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", temp).Run(); err != nil {
		t.Skipf("SKIPPED: no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", temp).Run() })
	if err := os.WriteFile(filepath.Join(temp, "ballast"), make([]byte, 4096), 0o600); err != nil {
		t.Log(err)
	}
	for name, dir := range map[string]string{"full": temp, "gone": filepath.Join(temp, "gone")} {
		t.Run(name, func(t *testing.T) {
			s := mustServe(t, "export TMPDIR="+dir, "", warmDir(t))
			s.get(t, path(pinned), http.StatusOK)
			s.get(t, path(pinned), http.StatusOK)
		})
	}
}

// Neither a strict umask nor a lax one changes what a service can do, or who can write what it keeps.
func TestUmask(t *testing.T) {
	t.Parallel()
	for _, mask := range []string{"077", "000"} {
		dir := warmDir(t)
		s := mustServe(t, "umask "+mask, "", dir)
		s.get(t, path(pinned), http.StatusOK)
		s.get(t, path(pinned), http.StatusOK)
		s.stop(t)
		err := filepath.WalkDir(filepath.Join(dir, "store"), func(name string, entry os.DirEntry, err error) error {
			if err == nil {
				var info os.FileInfo
				if info, err = entry.Info(); err == nil && info.Mode().Perm()&0o022 != 0 {
					t.Errorf("with umask %s others can write %s: %v", mask, strings.TrimPrefix(name, dir), info.Mode())
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		s = mustServe(t, "umask 022", "", dir)
		s.get(t, path(pinned), http.StatusOK)
		s.get(t, path("k6@v1.0.0"), http.StatusOK)
	}
}

// Hundreds of clients that want something else each: they have it, or are asked to come back, and the module proxy is not overrun.
func TestManyMissesAtOnce(t *testing.T) {
	t.Parallel()
	crowd := 500
	if os.Getenv("K6X_TEST_NIGHTLY") == "" {
		crowd = 100
	}
	modules := map[string]string{}
	for i := range crowd {
		modules[fmt.Sprintf("example.com/xk6-many@v0.1.%d", i)] = "-- a.go --\npackage many\n"
	}
	at, err := url.Parse(testmod.ServeFiles(t, modules, "../../testdata/standin/go.k6.io_k6_v1.0.0.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var now, most atomic.Int32
	forward := httputil.NewSingleHostReverseProxy(at)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	s := mustServe(t, "", proxy.URL, warmDir(t), "--queue", "8", "--allow-modules", "example.com/*")
	var clients sync.WaitGroup
	var whole atomic.Int32
	for i := range crowd {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			a, err := ask(context.Background(), client, s.url+path(fmt.Sprintf("k6@v1.0.0,example.com/xk6-many@v0.1.%d", i)))
			if err != nil {
				t.Error(err)
			} else if wantWholeOrLater(t, a, "") {
				whole.Add(1)
			}
		})
	}
	clients.Wait()
	if most.Load() > 70 { // those of the service's own client, and some of a go command
		t.Errorf("%d requests to the module proxy at once", most.Load())
	}
	if whole.Load() == 0 {
		t.Error("none was built")
	}
	s.get(t, "/ready", http.StatusOK)
	s.get(t, path("k6@v1.0.0,example.com/xk6-many@v0.1.7"), http.StatusOK)
}

// Browsers get pages unless the operator says no.
func TestPagesCanBeTurnedOff(t *testing.T) {
	for _, pages := range []bool{true, false} {
		s := mustServe(t, "", "", t.TempDir(), "--store", "mem://", fmt.Sprintf("--pages=%v", pages))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html,*/*;q=0.8")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if kind := resp.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/html") != pages {
			t.Errorf("--pages=%v: %s", pages, kind)
		}
	}
}

package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// A machine that never built anything makes the real k6 of what another one has compiled: the same bytes, and no module is downloaded.
func TestAnEmptyMachineWithASharedBuildCacheDownloadsNoModule(t *testing.T) {
	forFull(t)
	t.Parallel()
	warm, shared := warmDir(t), "file://"+t.TempDir()
	fill := exec.Command(world.program, "preload", "--builder", "native", "--cache-dir", warm, "--registry", "../testdata/registry.json", "--stars", "1000000",
		"--with", "k6=v1.8.1", "--with", "k6/x/redis=v0.3.6", "--build-cache", shared, "--build-cache-read-only=false")
	fill.Env = world.env
	if out, err := fill.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var modules, goMods atomic.Int64
	files := http.FileServer(http.Dir(filepath.Join(warm, "go", "modcache", "cache", "download")))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".zip") {
			modules.Add(1)
		} else if strings.HasSuffix(r.URL.Path, ".mod") {
			goMods.Add(1)
		}
		files.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	cmd := serviceCommand(coldDir(t), "--build-cache", shared, "--build-cache-read-only", "--log-level", "debug")
	cmd.Env = append(os.Environ(), "GOPROXY="+proxy.URL, "GONOSUMDB=*")
	s, truth := launch(t, cmd), start(t, warm)
	for _, list := range []string{redisList, "k6@v1.8.1"} {
		got, want := fetch(t, s.url+host+list), fetch(t, truth.url+host+list)
		if got.digest() != want.digest() {
			t.Errorf("%s: %s, want %s", list, got.digest(), want.digest())
		}
	}
	if n := modules.Load(); n > 0 || strings.Contains(s.logged(t), "left to go build") {
		t.Errorf("%d modules were downloaded", n)
	}
	t.Logf("%d go.mod files were read by the resolver", goMods.Load())
}

//go:build linux

package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k6x/internal/testmod"
	"k6x/internal/warmcache"
	"k6x/service"
)

// Two workers, each with a network and files of its own and with nothing in its caches but what the shared build cache gives it, build
// what a service builds. The real k6 they build in .ci/nightly: at every change it is a stand-in.
func TestWorkersWithNothingInCommonBuildTheSameBytes(t *testing.T) {
	forFull(t)
	t.Parallel()
	networks := []*netns{newNetns(t), newNetns(t)}
	onS3(t, func(t *testing.T, endpoint string) {
		dir, items, env := coldDir(t), []string{"k6@v1.8.1", "k6/x/redis@v0.3.6"}, world.env
		if nightly {
			dir = warmDir(t)
		} else {
			items, env = []string{"k6@v1.0.0", "example.com/xk6-hello@v0.1.0"}, append(os.Environ(), "GOPROXY="+testmod.Serve(t, "../testdata/standin"), "GOSUMDB=off")
			if err := warmcache.CopyStandard(filepath.Join(dir, "go", "gocache")); err != nil {
				t.Fatal(err)
			}
		}
		serve := func(args ...string) *k6x {
			cmd := serviceCommand(dir, append([]string{"--allow-modules", "example.com/*", "--store", "mem://"}, args...)...)
			cmd.Env = env
			return launch(t, cmd)
		}
		path := host + strings.Join(items, ",")
		want := fetch(t, serve().url+path).digest()
		fill := exec.Command(world.program, "preload", "--cache-dir", dir, "--registry", "../testdata/registry.json", "--with", items[0], "--with", items[1],
			"--build-cache", bucketURL(endpoint), "--build-cache-read-only=false")
		fill.Env = slices.Concat(env, bucketEnv)
		if out, err := fill.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte(workerToken), 0o600); err != nil {
			t.Fatal(err)
		}
		s := serve("--addr", "0.0.0.0:0", "--workers", "--worker-token-file", token, "--build-here=false", "--verify-workers", "100%")
		for _, n := range networks {
			listener, err := net.Listen("tcp", n.here+":0")
			if err != nil {
				t.Fatal(err)
			}
			modules := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.FileServer(http.Dir(filepath.Join(dir, "go", "modcache", "cache", "download")))}}
			modules.Start()
			t.Cleanup(modules.Close)
			_, bucket := newWireAt(t, n.here, endpoint)
			own := coldDir(t)
			for name, from := range map[string]string{"k6x": world.program, "token": token} {
				if out, err := exec.Command("cp", from, filepath.Join(own, name)).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			cmd := n.inside(exec.Command("unshare", "--mount", "sh", "-ec", `mount --bind "$0" /mnt; mount -t tmpfs none "$1"; mount -t tmpfs none "$HOME"; export HOME=/mnt
				exec /mnt/k6x worker "$2" --token-file /mnt/token --name "$3" --cache-dir /mnt/cache --build-cache "$4"`, // of what tests and users have it sees its own directory
				own, os.TempDir(), "http://"+n.here+s.url[strings.LastIndex(s.url, ":"):], n.name, bucketURL(bucket)))
			cmd.Env = slices.Concat(os.Environ(), bucketEnv, []string{"GOPROXY=" + modules.URL, "GOSUMDB=off"})
			attend(t, cmd)
		}
		if got := fetch(t, s.url+path).digest(); got != want {
			t.Errorf("a worker built %s, the service builds %s", got, want)
		}
		eventually(t, "the other one has built the same", func() bool {
			var status service.Status
			if err := json.Unmarshal(get(t, s.url+"/status.json").body, &status); err != nil {
				t.Fatal(err)
			}
			built := 0
			for _, w := range status.Pools[1].Workers {
				if built += min(1, w.Built); w.State == "quarantined" {
					t.Fatalf("%+v", w)
				}
			}
			return built == 2
		})
	})
}

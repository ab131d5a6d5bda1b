package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// startK6build starts one of the servers of k6build on any port.
func startK6build(t testing.TB, args ...string) *k6x {
	t.Helper()
	return launch(t, exec.Command(world.k6build, append(args, "--port", "0")...))
}

// k6build gives the bytes of the GET path, wherever it builds.
func TestK6buildGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	want := fetch(t, s.url+host+redisList)
	dir := t.TempDir()
	do := func(env []string, args ...string) string {
		t.Helper()
		cmd := exec.Command(world.k6build, args...)
		cmd.Dir, cmd.Env = dir, env
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("k6build %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return stdout.String()
	}
	check := func(file, said string) {
		t.Helper()
		body, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := (answer{body: body}).digest(); got != want.digest() || !strings.Contains(said, "checksum: "+got) {
			t.Errorf("%s, and k6build says\n%s, want %s", got, said, want.digest())
		}
	}
	said := do(os.Environ(), "remote", "-s", s.url, "-k", "v1.8.1", "-d", "k6/x/redis:>=0.3", "-o", "remote")
	check("remote", said)
	if link := regexp.MustCompile(`url: (\S+)`).FindStringSubmatch(said); link == nil || fetch(t, link[1]).digest() != want.digest() {
		t.Errorf("k6build remote says\n%s", said)
	}

	type entry struct {
		Module   string   `json:"module"`
		Versions []string `json:"versions,omitempty"`
	}
	catalog, err := json.Marshal(map[string]entry{"k6": {"go.k6.io/k6", nil}, "k6/x/redis": {"github.com/grafana/xk6-redis", []string{"v0.3.6"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "catalog.json"), catalog, 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "GOPROXY=off")
	check("local", do(env, "local", "-c", "catalog.json", "--cache-dir", warmDir(t), "-f", "kept", "-k", "v1.8.1", "-d", "k6/x/redis",
		"-p", runtime.GOOS+"/"+runtime.GOARCH, "-e", "GOPROXY="+goproxy(), "-o", "local"))
	if found, err := os.ReadDir(filepath.Join(dir, "kept")); err != nil || len(found) == 0 {
		t.Errorf("the store has %v, %v", found, err)
	}
}

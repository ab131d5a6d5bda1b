package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A worker that has compiled nothing, nor fetched a module, makes the binary of the service.
func TestANewWorkerIsWarm(t *testing.T) {
	forFull(t)
	t.Parallel()
	warmUp(t)
	dir, tokens := coldDir(t), filepath.Join(t.TempDir(), "tokens")
	if err := os.Mkdir(filepath.Join(dir, "go"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"gocache", "modcache"} {
		if err := os.Symlink(filepath.Join(world.warm(), "go", part), filepath.Join(dir, "go", part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(tokens, []byte("worker-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir, "--workers", "--worker-token-file", tokens)
	begun := time.Now()
	here := fetch(t, s.url+host+redisList)
	took := time.Since(begun)
	eventually(t, "what was compiled to be offered", func() bool { return len(filesIn(t, dir, "offered/index")) > 0 })

	worker := exec.Command(world.program, "worker", s.url, "--token-file", tokens, "--name", "w1", "--cache-dir", coldDir(t))
	worker.Env, worker.Stderr = world.env, &lockedBuffer{}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = worker.Process.Signal(syscall.SIGTERM)
		if err := worker.Wait(); err != nil || t.Failed() {
			t.Errorf("%v\n%s", err, worker.Stderr)
		}
	})
	idle := regexp.MustCompile(`"name":\s*"w1",\s*"state":\s*"idle"`) // one that has registered only is given nothing yet
	eventually(t, "the worker to be there", func() bool { return idle.Match(get(t, s.url+"/status.json").body) })
	begun = time.Now()
	again := get(t, s.url+"/build?platform="+strings.Trim(host, "/")+"&k6=v1.8.1&dep=k6/x/redis:v0.3.6&nocache=true")
	t.Logf("with all compiled in %s here, in %s at the worker with nothing", took, time.Since(begun))
	if text := again.text(); !strings.Contains(text, here.digest()) || strings.Contains(text, "warnings") { // which it would be told in
		t.Errorf("%s, and not %s", text, here.digest())
	}
	var result struct {
		Worker, Outcome string
		Steps           []struct {
			Name string
			Done int
		}
	}
	eventually(t, "its result is there", func() bool {
		err := json.Unmarshal(get(t, s.url+"/builds/"+again.header.Get("K6x-Build")+".json").body, &result)
		return err == nil && result.Outcome != "" && result.Outcome != "running"
	})
	for _, step := range result.Steps { // one that has nothing at hand compiles some 700 packages; what does not come in time is compiled, too
		if step.Name == "compiling" && step.Done > 350 {
			t.Errorf("the worker compiled %d packages", step.Done)
		}
	}
	if result.Worker != "w1" || result.Outcome != "built" {
		t.Errorf("the worker did not build: %+v", result)
	}
}

package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Service and worker of the image that Containerfile makes build what the program builds here, and write to nothing but their volumes. A k6 that has no
// extensions runs the script of the example with what they have built.
func TestImageBuildsWhatTheProgramBuilds(t *testing.T) {
	if !nightly {
		t.Skip("SKIPPED: an image is made, and k6 is built from nothing in it; K6X_TEST_NIGHTLY=1 runs it")
	}
	image := makeImage(t)
	addr, dir := freeAddr(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("worker-token\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	registry, err := filepath.Abs("../testdata/registry.json")
	if err != nil {
		t.Fatal(err)
	}
	contain := func(name string, args ...string) {
		podman.Podman(t, append([]string{"run", "--detach", "--name", name, "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "all",
			"--security-opt", "no-new-privileges", "--volume", name + ":/var/cache/k6x", "--volume", dir + ":/etc/k6x:ro", "--volume", registry + ":/registry.json:ro",
			"--env", "GOPROXY=" + goproxy(), "--env", "GONOSUMDB=ext.example", "--env", "K6X_ADDR=" + addr, image}, args...)...)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of the %s:\n%s", name, tail(podman.Podman(t, "logs", name), 4000))
			}
			podman.Podman(t, "rm", "--force", "--time", "0", "--volumes", name)
		})
	}
	contain("service", "service", "--workers", "--worker-token-file", "/etc/k6x/token", "--build-here=false", "--registry", "/registry.json", "--sandbox", "require")
	contain("worker", "worker", "http://"+addr, "--token-file", "/etc/k6x/token", "--name", "w1", "--sandbox", "require")
	eventually(t, "the worker connects", func() bool { return strings.Contains(podman.Podman(t, "logs", "worker"), "msg=connected") })

	got := fetch(t, "http://"+addr+host+redisList).digest()
	if want := fetch(t, start(t, warmDir(t)).url+host+redisList).digest(); got != want {
		t.Errorf("built in the image: %s, here: %s", got, want)
	}
	script, err := filepath.Abs("../examples/kubernetes/job/script.js")
	if err != nil {
		t.Fatal(err)
	}
	if out, code := newUser(t, "http://"+addr).run("run", "--quiet", script); code != 0 || !strings.Contains(out, "the extension is there") {
		t.Errorf("exit code %d\n%s", code, tail(out, 4000))
	}
	for _, name := range []string{"worker", "service"} {
		podman.Podman(t, "stop", "--time", "60", name)
		if code := podman.Podman(t, "inspect", "--format", "{{.State.ExitCode}}", name); strings.TrimSpace(code) != "0" {
			t.Errorf("the %s was told to stop: exit code %s", name, code)
		}
	}
	if _, err := http.Get("http://" + addr + "/alive"); err == nil {
		t.Error("something serves after that")
	}
}

// makeImage makes the image of Containerfile, from a Debian with the Go of this machine, and returns its name.
func makeImage(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(out))
	root, sources := filepath.Join(t.TempDir(), "root.tar"), t.TempDir()
	const certificates = "/etc/ssl/certs/ca-certificates.crt"
	debian := exec.Command(program(t, "mmdebstrap"), "--quiet", "--variant=minbase", "--include=ca-certificates,git", `--customize-hook=mkdir "$1/usr/local/go"`,
		"--customize-hook=sync-in "+dirs[0]+" /usr/local/go", "--customize-hook=upload "+certificates+" "+certificates, "bookworm", root)
	if out, err := debian.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const base, image = "localhost/golang:test", "localhost/k6x:test"
	podman.Podman(t, "import", "--change", "ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--change", "ENV GOTOOLCHAIN=local", root, base)
	if out, err := exec.Command("sh", "-c", `cd .. && git ls-files | tar cT - | tar x -C "$0"`, sources).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	podman.Podman(t, "build", "--isolation", "chroot", "--layers=false", "--file", filepath.Join(sources, "Containerfile"), "--build-arg", "GO="+base,
		"--volume", dirs[1]+":/root/go/pkg/mod", "--volume", dirs[2]+":/root/.cache/go-build", "--tag", image, sources)
	return image
}

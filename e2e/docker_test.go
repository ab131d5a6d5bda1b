package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"k6x/internal/podmantest"
)

// podman is what builds in containers; it speaks Docker's API.
var podman podmantest.Service

// A container gives the bytes that the service gives, from a cold volume.
func TestContainerGivesTheBytesOfTheService(t *testing.T) {
	if !nightly {
		t.Skip("SKIPPED: a cold build in a container takes minutes; K6X_TEST_NIGHTLY=1 runs it")
	}
	u := newTester(t).withGo()
	u.env = append(u.env, "DOCKER_HOST="+podman.Host(t), "K6X_DOCKER_IMAGE="+podmantest.Image, "K6X_DOCKER_NETWORK=host")
	s := start(t, warmDir(t))
	want := fetch(t, s.url+host+redisList).digest()
	if out, code := u.run("build", "--builder", "docker", "--bin-dir", "dist", "script.js"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, tail(out, 4000))
	}
	body, err := os.ReadFile(filepath.Join(u.home, "dist", "k6"))
	if err != nil {
		t.Fatal(err)
	}
	if got := (answer{body: body}).digest(); got != want {
		t.Errorf("built in a container: %s, the path of the list gives %s", got, want)
	}
}

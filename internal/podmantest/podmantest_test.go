package podmantest

import (
	"os"
	"strings"
	"testing"
)

func TestServiceHasAnImageThatCanBuildAndLeavesNothing(t *testing.T) {
	var s Service
	t.Cleanup(func() { _ = s.Close() })
	if !strings.HasPrefix(s.Host(t), "unix:///") {
		t.Errorf("its address is %s", s.Host(t))
	}
	out := s.Podman(t, "run", "--rm", "--entrypoint", "", "--user", "0", "--env", "GOFLAGS=", Image, "timeout", "60", "sh", "-c", "go version")
	if !strings.Contains(out, "go version go1.") {
		t.Errorf("go says %q", out)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", s.dir, err)
	}
}

package podmantest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// dir is a variable for this test binary again, which serves there until it is killed.
const dir = "K6X_TEST_PODMAN_DIR"

func TestMain(m *testing.M) {
	if at := os.Getenv(dir); at != "" {
		s := Service{dir: at, disk: "vfs"}
		if err := errors.Join(s.configure(), s.serve(context.Background())); err != nil {
			fmt.Fprintln(os.Stderr, err, &s.log)
			os.Exit(1)
		}
		fmt.Println(s.host())
		select {}
	}
	os.Exit(m.Run())
}

func TestServiceEndsWithAProcessThatIsKilled(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil || runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("this test runs podman as root, on Linux")
	}
	at, err := os.MkdirTemp("", "podman") // a short name, as podman wants it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(at)
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), dir+"="+at), t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimPrefix(strings.TrimSpace(line), "unix://")
	for since := time.Now(); ; time.Sleep(10 * time.Millisecond) { // a connection would have it write to a pipe that is no more, and end for that
		sockets, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(sockets), socket) {
			return
		}
		if time.Since(since) > time.Minute {
			t.Fatal("it is still served")
		}
	}
}

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

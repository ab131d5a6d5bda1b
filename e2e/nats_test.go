//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// natsServer is the program whose parts are linked into k6x, too.
var natsServer = sync.OnceValues(func() (string, error) {
	name := filepath.Join(world.dir, "nats-server")
	return name, exec.Command("go", "build", "-o", name, "github.com/nats-io/nats-server/v2").Run()
})

// nats is a NATS of an operator.
type nats struct {
	t       *testing.T
	addr    string
	dir     string // a small disk of its own, if one can be mounted
	command func() *exec.Cmd
	cmd     *exec.Cmd
	gone    <-chan struct{}
}

// startNATS starts a NATS with JetStream, in a network of its own perhaps.
func startNATS(t *testing.T, in ...*netns) *nats {
	t.Helper()
	program, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	addr, dir := freeAddr(t), t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=4m"); err == nil {
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	at, port, _ := strings.Cut(addr, ":")
	for _, n := range in {
		at = n.near
	}
	n := &nats{t: t, addr: at + ":" + port, dir: dir, command: func() *exec.Cmd {
		cmd := exec.Command(program, "-a", at, "-p", port, "-js", "-sd", dir)
		for _, n := range in {
			cmd = n.inside(cmd)
		}
		return cmd
	}}
	n.start()
	return n
}

func (n *nats) url() string { return "nats://" + n.addr }

// start starts it, on a disk that has room again.
func (n *nats) start() {
	n.t.Helper()
	_ = os.Remove(n.ballast())
	n.cmd = n.command()
	n.gone = attend(n.t, n.cmd)
	eventually(n.t, "NATS listens", func() bool { return listens(n.addr) })
}

func (n *nats) ballast() string { return filepath.Join(n.dir, "ballast") }

// fill fills its disk, and reports whether it has one of its own.
func (n *nats) fill() bool {
	var disk, temp syscall.Stat_t
	if err := errors.Join(syscall.Stat(n.dir, &disk), syscall.Stat(filepath.Dir(n.dir), &temp)); err != nil || disk.Dev == temp.Dev {
		return false
	}
	_ = os.WriteFile(n.ballast(), make([]byte, 4<<20), 0o600) // as much as there is room for
	return true
}

// kill ends it with no time for anything.
func (n *nats) kill() {
	_ = n.cmd.Process.Signal(syscall.SIGKILL)
	<-n.gone
}

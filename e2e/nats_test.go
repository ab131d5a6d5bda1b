package e2e

import (
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
	url     string
	command func() *exec.Cmd
	cmd     *exec.Cmd
	gone    <-chan struct{}
}

// startNATS starts a NATS with JetStream.
func startNATS(t *testing.T) *nats {
	t.Helper()
	program, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	addr, dir := freeAddr(t), t.TempDir()
	at, port, _ := strings.Cut(addr, ":")
	n := &nats{t: t, url: "nats://" + addr, command: func() *exec.Cmd { return exec.Command(program, "-a", at, "-p", port, "-js", "-sd", dir) }}
	n.start()
	return n
}

func (n *nats) start() {
	n.t.Helper()
	n.cmd = n.command()
	n.gone = attend(n.t, n.cmd)
	eventually(n.t, "NATS listens", func() bool { return listens(strings.TrimPrefix(n.url, "nats://")) })
}

// kill ends it with no time for anything.
func (n *nats) kill() {
	_ = n.cmd.Process.Signal(syscall.SIGKILL)
	<-n.gone
}

//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// netns is a network of its own, with a line to that of the test.
type netns struct {
	t          *testing.T
	name       string // also of the test's end of the line
	here, near string // addresses of the test's end and of the other one
}

// newNetns makes a network, or skips the test where that may not be done.
func newNetns(t *testing.T) *netns {
	t.Helper()
	program(t, "ip")
	subnet := fmt.Sprintf("10.%d.%d.", 100+rand.N(100), rand.N(256))
	n := &netns{t: t, name: fmt.Sprintf("k6x%08x", rand.Uint32()), here: subnet + "1", near: subnet + "2"}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no network namespace can be made here: %v, %s", err, out)
	}
	t.Cleanup(func() { n.ip("netns", "del", n.name) }) // and its line
	n.ip("link", "add", n.name, "type", "veth", "peer", "name", "eth0", "netns", n.name)
	n.ip("addr", "add", n.here+"/30", "dev", n.name)
	n.ip("link", "set", n.name, "up")
	n.ip("-n", n.name, "addr", "add", n.near+"/30", "dev", "eth0")
	n.ip("-n", n.name, "link", "set", "eth0", "up")
	n.ip("-n", n.name, "link", "set", "lo", "up")
	return n
}

func (n *netns) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Errorf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// inside has a command run in the network.
func (n *netns) inside(cmd *exec.Cmd) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.name}, cmd.Args...)...)
}

// ways in which a line is cut: what is sent is lost, and nobody is told.
var ways = []string{"both ways", "to it", "from it"}

// cut cuts the line for so long.
func (n *netns) cut(way string, d time.Duration) {
	n.t.Helper()
	there := []string{"-n", n.name}
	switch way {
	case "both ways":
		n.ip("link", "set", n.name, "down")
		defer n.ip("link", "set", n.name, "up")
	case "to it":
		n.ip("neigh", "replace", n.near, "lladdr", nobody, "nud", "permanent", "dev", n.name)
		defer n.ip("neigh", "del", n.near, "dev", n.name)
	case "from it":
		n.ip(append(there, "neigh", "replace", n.here, "lladdr", nobody, "nud", "permanent", "dev", "eth0")...)
		defer n.ip(append(there, "neigh", "del", n.here, "dev", "eth0")...)
	}
	time.Sleep(d)
}

const nobody = "02:00:00:00:00:01" // hardware address

// The network of workers, or of NATS, is cut each way and both, for a moment and for longer than a worker is waited for: who waits has
// what was asked for.
func TestTheNetworkIsCut(t *testing.T) {
	forFull(t)
	t.Parallel()
	cuts, extensions := []time.Duration{2 * time.Second, 10 * time.Second}, 10
	if nightly {
		cuts, extensions = []time.Duration{time.Second, 5 * time.Second, 8 * time.Second, 9 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute}, 12
	}
	cut := func(f *fleet, networks ...*netns) {
		f.patient = nightly // as there is no worker for a minute
		f.during(8, func() {
			for k, d := range cuts {
				var all sync.WaitGroup
				for i, n := range networks {
					all.Go(func() { n.cut(ways[(i+k)%len(ways)], d) })
				}
				all.Wait()
				f.goesOn()
			}
		})
		f.check()
	}
	t.Run("of workers", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, extensions)
		s := f.serveAt("0.0.0.0:0")
		near := f.work(s.url, "") // to which the modules are near
		f.warm()
		near.kill()
		var networks []*netns
		for range 4 {
			n := newNetns(t)
			networks = append(networks, n)
			f.run(new(worker), n.inside, "http://"+n.here+s.url[strings.LastIndex(s.url, ":"):])
		}
		cut(f, networks...)
	})
	t.Run("of NATS", func(t *testing.T) {
		t.Parallel()
		n := newNetns(t)
		f := newFleet(t, extensions, "--nats", startNATS(t, n).url())
		f.serve()
		for range 4 {
			f.work(f.urls[0], "")
		}
		f.warm()
		cut(f, n)
	})
}

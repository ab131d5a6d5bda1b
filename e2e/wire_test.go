package e2e

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// direction is a way on a wire.
type direction int

const (
	up   direction = iota // to the server
	down                  // from it
)

// wire passes TCP connections on to a server, and cuts them all when told to.
type wire struct {
	listener net.Listener
	server   string

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]bool
	way   direction
	left  int64 // bytes on way until the cut; 0: none is due
	stays bool  // nothing passes after the cut
	dead  bool
	cuts  int
}

// newWire returns a wire to a server, and the URL of its near end.
func newWire(t *testing.T, endpoint string) (*wire, string) {
	t.Helper()
	return newWireAt(t, "127.0.0.1", endpoint)
}

// newWireAt is newWire with the near end at that address.
func newWireAt(t *testing.T, host, endpoint string) (*wire, string) {
	t.Helper()
	listener, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, server: strings.TrimPrefix(endpoint, "http://"), conns: map[net.Conn]bool{}}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { w.connect(near) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		w.cutAfter(up, 0, true)
		open.Wait()
	})
	return w, "http://" + listener.Addr().String()
}

// cutAfter has the wire cut as soon as n bytes have gone one way, and for good if it stays so.
func (w *wire) cutAfter(way direction, n int64, stays bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.way, w.left, w.stays, w.cuts = way, n, stays, 0
	if n == 0 {
		w.cut()
	}
}

// mend undoes a cut that stays, and takes back one that is due.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.dead = 0, false
}

// wasCut reports whether the cut that was asked for last has happened.
func (w *wire) wasCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts > 0
}

// cut closes all connections. The caller holds mu.
func (w *wire) cut() {
	w.cuts++
	w.dead = w.stays
	for conn := range w.conns {
		conn.Close()
	}
	clear(w.conns)
}

func (w *wire) connect(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	dead := w.dead
	if !dead {
		w.conns[near], w.conns[far] = true, true
	}
	w.mu.Unlock()
	if dead {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { w.pass(up, far, near) })
	both.Go(func() { w.pass(down, near, far) })
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, near)
	delete(w.conns, far)
}

func (w *wire) pass(way direction, to, from net.Conn) {
	defer func() { _ = to.(*net.TCPConn).CloseWrite() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			w.count(way, int64(n))
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// count counts bytes that are about to pass, which closes what they would pass on when the
// cut is due.
func (w *wire) count(way direction, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == 0 || way != w.way {
		return
	}
	if w.left = max(0, w.left-n); w.left == 0 {
		w.cut()
	}
}

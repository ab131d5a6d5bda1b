package cli

import (
	"net"
	"net/http"
	"sync"
)

// shareFiles says how the files that a server may have open are shared out: so many connections, and so many downloads, each of two
// files. The rest is for builds, for connections to others and for the store.
func shareFiles(limit uint64) (connections, downloads int) {
	const unbounded = 1 << 20 // more is as good as no limit
	if limit == 0 || limit > unbounded {
		limit = unbounded
	}
	ours := int(limit) * 5 / 8
	return max(8, ours/2), max(2, ours/4)
}

// MaxDownloads returns how many files a server can send at once, each with another form of it.
func MaxDownloads() int {
	_, downloads := shareFiles(openFiles())
	return downloads
}

// crowd is a listener that accepts so many connections at once. Those beyond wait until others end, and idle ones end at once then.
type crowd struct {
	net.Listener
	server *http.Server
	places chan struct{} // one is taken by each connection
	closed chan struct{}
	close  func()
}

// newCrowd returns the listener of a server, whose ConnState it sets.
func newCrowd(listener net.Listener, server *http.Server, most int) *crowd {
	c := &crowd{Listener: listener, server: server, places: make(chan struct{}, most), closed: make(chan struct{})}
	c.close = sync.OnceFunc(func() { close(c.closed) })
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			<-c.places
		}
	}
	return c
}

// Accept implements [net.Listener].
func (c *crowd) Accept() (net.Conn, error) {
	select {
	case c.places <- struct{}{}:
	default:
		c.server.SetKeepAlivesEnabled(false) // which ends those that are idle, and the others after their answer
		select {
		case c.places <- struct{}{}:
			c.server.SetKeepAlivesEnabled(true)
		case <-c.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := c.Listener.Accept()
	if err != nil {
		<-c.places
	}
	return conn, err
}

// Close implements [net.Listener].
func (c *crowd) Close() error {
	c.close()
	return c.Listener.Close()
}

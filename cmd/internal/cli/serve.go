package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"k6x"
)

// Server configures [Serve].
type Server struct {
	Addr      string
	AddrFlag  string // the flag to choose another address with
	Handler   http.Handler
	Timeout   time.Duration // how long requests may take to end after ctx has
	Logger    *slog.Logger
	Listening func(addr net.Addr) // called before the first request; nil: nothing
	Stopping  func()              // called when ctx has ended; nil: nothing
}

// Serve serves until ctx ends, and then lets the requests that are under way end for a while.
func Serve(ctx context.Context, s Server) error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
	}
	if err != nil {
		return &UsageError{Err: fmt.Errorf("--%s %s is not an address to listen on, such as 127.0.0.1:8787: %w", s.AddrFlag, s.Addr, err)}
	}
	listener, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "cannot listen on %s: %w", s.Addr, err).WithHint("Choose another one with --%s.", s.AddrFlag)
	}
	server := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelWarn),
	}
	if s.Listening != nil {
		s.Listening(listener.Addr())
	}
	served := make(chan error, 1)
	connections, _ := shareFiles(openFiles())
	go func() { served <- server.Serve(newCrowd(listener, server, connections)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.Logger.Info("stopping: requests under way may end", "timeout", s.Timeout)
	if s.Stopping != nil {
		s.Stopping()
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		s.Logger.Warn("requests were cut off", "error", err)
		return server.Close()
	}
	return nil
}

// OnHangup has f called for each SIGHUP from now on, which does not end the process, until stop is called.
func OnHangup(f func()) (stop func()) {
	hangups, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				f()
			case <-stopped:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(stopped)
	}
}

// LocalURL returns the URL of a listener for this machine.
func LocalURL(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("http://localhost:%d", tcp.Port)
	}
	return "http://" + addr.String()
}

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

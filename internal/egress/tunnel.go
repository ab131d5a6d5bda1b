package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"k6x"
)

// connect answers a CONNECT.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	t, err := p.policy.target(r.Host)
	var server net.Conn
	if err == nil {
		server, err = p.open(r.Context(), t)
	}
	client, buffered, hijackErr := http.NewResponseController(w).Hijack()
	if hijackErr != nil {
		if server != nil {
			server.Close()
		}
		return
	}
	defer client.Close()
	if err != nil {
		refuse(client, err)
		return
	}
	defer server.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	p.relay(r.Context(), t, client, buffered.Reader, server)
}

// refuse says no. The reason stands where the status has its words, as that is all that the go command shows.
func refuse(client net.Conn, err error) {
	fmt.Fprintf(client, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", statusOf(err), k6x.AsError(err).Message)
}

func statusOf(err error) int {
	switch k6x.KindOf(err) {
	case k6x.Invalid:
		return http.StatusBadRequest
	case k6x.Forbidden:
		return http.StatusForbidden
	case k6x.Unavailable:
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// open connects to t, through the upstream proxy if there is one. Errors are those of admit, and of kind Internal for whatever
// else went wrong.
func (p *Proxy) open(ctx context.Context, t target) (net.Conn, error) {
	if err := p.admit(t); err != nil {
		return nil, err
	}
	up, err := p.policy.upstream(&url.URL{Scheme: "https", Host: t.String()})
	if err != nil {
		return nil, k6x.Errorf(k6x.Internal, "the proxy of this machine cannot be used").WithCause(err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.dialTime)
	defer cancel()
	var conn net.Conn
	if up != nil {
		conn, err = p.through(ctx, up, t.String())
	} else {
		conn, err = p.dial(ctx, t.String(), permit(t))
	}
	if err != nil {
		return nil, p.failure(t, err)
	}
	return conn, nil
}

func permit(t target) func(netip.Addr) error {
	if t.anywhere {
		return nil
	}
	return onlyPublic
}

// failure returns the error for a connection to t that could not be made, or broke. That no name server answers is no fault
// of the host's.
func (p *Proxy) failure(t target, err error) error {
	p.log.Info("a host cannot be reached", "host", t.host, "error", err)
	_, unresolved := errors.AsType[*net.DNSError](err)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errPrivate):
		p.note(t, refused)
		return privateError(t.host)
	case ok && timeout.Timeout() && !unresolved && !errors.Is(err, errUpstream):
		p.note(t, silent)
		return p.silentError(t)
	}
	return k6x.Errorf(k6x.Internal, "%s cannot be reached", t.host).WithCause(err)
}

// relay passes bytes on in both directions until one side is done, none came for a while, or ctx ends. First is what comes before the rest
// from the client.
func (p *Proxy) relay(ctx context.Context, t target, client net.Conn, first *bufio.Reader, server net.Conn) {
	end := func() {
		client.Close()
		server.Close()
	}
	defer end()
	defer context.AfterFunc(ctx, end)()
	var heard, done, doubted atomic.Bool // bytes came from the server; all of them; none for long
	doubt := time.AfterFunc(p.patience, func() {
		if !heard.Load() {
			doubted.Store(true)
			p.note(t, suspect)
		}
	})
	defer doubt.Stop()
	idle := time.AfterFunc(p.idle, func() {
		switch { // before the client can report it
		case !heard.Load():
			p.note(t, silent)
		case !done.Load():
			p.note(t, suspect)
		}
		end()
	})
	defer idle.Stop()

	finished := make(chan struct{})
	go func() {
		defer close(finished)
		_, _ = io.Copy(client, &counted{server, func() {
			idle.Reset(p.idle)
			if !heard.Swap(true) {
				p.hosts.Remove(t.host)
			}
		}})
		done.Store(true)
		if half, ok := client.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // and it closes the rest when it has read all
		}
	}()
	_, _ = io.Copy(server, &counted{first, func() { idle.Reset(p.idle) }})
	end()
	<-finished
	if doubted.Load() && !heard.Load() { // the client has given up
		p.note(t, silent)
	}
}

// counted tells of each read that brings something.
type counted struct {
	io.Reader
	moved func()
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if n > 0 {
		c.moved()
	}
	return n, err
}

package egress

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

var errUpstream = errors.New("the proxy of this machine cannot be reached")

// answer is the status with which an upstream proxy does not connect.
type answer int

func (a answer) Error() string   { return fmt.Sprintf("the proxy of this machine answers %d", int(a)) }
func (a answer) Timeout() bool   { return a == http.StatusGatewayTimeout }
func (a answer) Temporary() bool { return a.Timeout() }

// Upstream returns a function that tells an [http.Transport] which proxy the operator has for a request of this process: that of p or, if it
// is nil, of env, which is as for [Start].
func (p *Proxy) Upstream(env []string) func(*http.Request) (*url.URL, error) {
	if p == nil {
		p = &Proxy{policy: readPolicy(env)}
	}
	return func(r *http.Request) (*url.URL, error) { return p.policy.upstream(r.URL) }
}

// through connects to address by way of an upstream proxy, which looks up the name. An error wraps errUpstream if it is
// the upstream proxy that cannot be reached.
func (p *Proxy) through(ctx context.Context, up *url.URL, address string) (_ net.Conn, err error) {
	if strings.HasPrefix(up.Scheme, "socks5") {
		d, err := proxy.FromURL(up, proxy.Direct)
		if err != nil {
			return nil, err
		}
		return d.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	}
	conn, err := p.dial(ctx, hostPort(up), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUpstream, err)
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	if up.Scheme == "https" {
		encrypted := tls.Client(conn, &tls.Config{ServerName: up.Hostname()})
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errUpstream, err)
		}
		conn = encrypted
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
		defer conn.SetDeadline(time.Time{})
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if up.User != nil {
		password, _ := up.User.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(up.User.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	read := bufio.NewReader(conn)
	response, err := http.ReadResponse(read, request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, answer(response.StatusCode)
	}
	return &readFirst{conn, read}, nil
}

// readFirst is a connection of which something was read already.
type readFirst struct {
	net.Conn
	read *bufio.Reader
}

func (c *readFirst) Read(b []byte) (int, error) { return c.read.Read(b) }

// hostPort returns the address that a URL has, with the port that its scheme has if it names none.
func hostPort(u *url.URL) string {
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return net.JoinHostPort(normal(u.Hostname()), cmp.Or(u.Port(), port))
}

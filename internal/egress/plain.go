package egress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"k6x"
)

// forward answers a request for an http URL, which nothing but the operator's settings leads to.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	t, err := p.policy.target(address)
	_, named := p.policy.allowed.Load(t.host)
	if err == nil && !t.trusted && !named && !matches(p.policy.insecure, t.host) {
		err = k6x.Errorf(k6x.Forbidden, "nothing is fetched from %s without encryption unless the operator names it in GOINSECURE", t.host)
	}
	if err == nil {
		err = p.admit(t)
	}
	if err != nil {
		http.Error(w, k6x.AsError(err).Message, statusOf(err))
		return
	}
	up, err := p.policy.upstream(r.URL)
	forwarder := httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, // it goes where it was to go
		Transport: &http.Transport{
			Proxy: func(*http.Request) (*url.URL, error) { return up, err },
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, p.dialTime)
				defer cancel()
				judge := permit(t)
				if up != nil {
					judge = nil
				}
				conn, err := p.dial(ctx, address, judge)
				switch {
				case err == nil:
					return &impatient{conn, p.idle}, nil
				case up != nil:
					err = fmt.Errorf("%w: %w", errUpstream, err)
				}
				return nil, err
			},
			DisableKeepAlives: true,
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			err = p.failure(t, err)
			http.Error(w, k6x.AsError(err).Message, statusOf(err))
		},
		ErrorLog: p.server.ErrorLog,
	}
	forwarder.ServeHTTP(w, r)
}

// impatient is a connection that fails when no byte comes or goes for a while.
type impatient struct {
	net.Conn
	idle time.Duration
}

func (c *impatient) Read(b []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.idle))
	return c.Conn.Read(b)
}

func (c *impatient) Write(b []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.idle))
	return c.Conn.Write(b)
}

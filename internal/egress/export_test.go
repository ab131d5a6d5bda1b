package egress

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Dial has a test connect instead of the network. It has to be set before the proxy is used.
func (p *Proxy) Dial(dial func(ctx context.Context, address string, permit func(netip.Addr) error) (net.Conn, error)) {
	p.dial = dial
}

// Hurry makes the proxy end what makes no progress after idle. It has to be called before the proxy is used.
func (p *Proxy) Hurry(idle time.Duration) { p.idle = idle }

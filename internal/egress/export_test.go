package egress

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// StartIn is Start with a stand-in for the internet, and with what ends a connection without progress.
func StartIn(env []string, dial func(ctx context.Context, address string, permit func(netip.Addr) error) (net.Conn, error), idle time.Duration) (*Proxy, error) {
	p := newProxy(env, slog.New(slog.DiscardHandler))
	p.dial, p.idle = dial, idle
	return p, p.listen()
}

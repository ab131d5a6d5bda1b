package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

var (
	// special are the blocks that are not for the public internet, or stand for IPv4 addresses in an obsolete way
	// (https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry). IPv6 addresses
	// outside of global are none either.
	special = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	global = netip.MustParsePrefix("2000::/3")
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // the last four bytes are an IPv4 address
)

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, s := range list {
		all[i] = netip.MustParsePrefix(s)
	}
	return all
}

// public reports whether an address is one of the public internet.
func public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr.IsValid() && (addr.Is4() || global.Contains(addr)) &&
		!slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(addr) })
}

var errPrivate = errors.New("no public address")

// onlyPublic returns [errPrivate] for an address that is not public, or is one of this machine's, which no firewall
// keeps it from.
func onlyPublic(addr netip.Addr) error {
	if !public(addr) {
		return errPrivate
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range own {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == addr.Unmap() {
			return errPrivate
		}
	}
	return nil
}

// dial connects to host:port. Permit judges each address right before it is connected to, whatever the name
// stands for by then; nil: all are fine.
func dial(ctx context.Context, address string, permit func(netip.Addr) error) (net.Conn, error) {
	var d net.Dialer
	if permit != nil {
		d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return permit(addr.Addr())
		}
	}
	return d.DialContext(ctx, "tcp", address)
}

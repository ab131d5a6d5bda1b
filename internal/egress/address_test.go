package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "140.82.121.4": true, "172.15.0.1": true, "172.32.0.1": true, "100.63.0.1": true, "100.128.0.1": true,
		"192.167.0.1": true, "169.253.0.1": true, "2a00:1450:4001::1": true, "2606:4700::1": true, "2001:4860:4860::8888": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "127.0.0.1": false, "127.255.255.254": false,
		"169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false, "192.0.0.1": false, "192.0.2.1": false,
		"192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false,
		"203.0.113.1": false, "224.0.0.1": false, "239.1.1.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fc00::1": false, "fd12:3456::1": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false,
		"ff02::1": false, "100::1": false, "2001:db8::1": false, "3fff::1": false, "5f00::1": false,
		"::ffff:8.8.8.8": true, "::ffff:10.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false,
		"::127.0.0.1": false, "::8.8.8.8": false, // IPv4-compatible, obsolete
		"64:ff9b::808:808": true, "64:ff9b::a00:1": false, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::808:808": false, // NAT64
		"2002:7f00:1::1": false, "2002:a00:1::": false, "2002:808:808::1": false, // 6to4, obsolete
		"2001:0:4136:e378:8000:63bf:80ff:fffe": false, // Teredo, obsolete
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v", text, got)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// What the standard library knows not to be public is not, in whatever form it comes.
func FuzzPublic(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "10.1.2.3", "169.254.169.254", "8.8.8.8", "fe80::1", "fd00::1", "2a00::1"} {
		f.Add(netip.MustParseAddr(seed).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		forms := []netip.Addr{addr}
		if addr.Is4() {
			b := addr.As4()
			forms = append(forms, netip.AddrFrom16(addr.As16()), netip.AddrFrom16([16]byte{0: 0, 1: 0x64, 2: 0xff, 3: 0x9b, 12: b[0], b[1], b[2], b[3]}))
		}
		plain := addr.Unmap()
		inside := plain.IsLoopback() || plain.IsPrivate() || plain.IsLinkLocalUnicast() || plain.IsMulticast() || plain.IsUnspecified()
		for _, form := range forms {
			if public(form) && inside {
				t.Errorf("%s is public", form)
			}
			if public(form) != public(addr) {
				t.Errorf("%s and %s are not the same", form, addr)
			}
		}
	})
}

// The address that counts is the one that is connected to, not one that the name had before.
func TestDialJudgesTheAddressThatItConnectsTo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1"} {
		conn, err := dial(t.Context(), net.JoinHostPort(host, port), onlyPublic)
		if err == nil {
			conn.Close()
			t.Errorf("%s was connected to", host)
		} else if !errors.Is(err, errPrivate) {
			t.Errorf("%s: %v", host, err)
		}
	}
	conn, err := dial(context.Background(), net.JoinHostPort("localhost", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// A service of this machine may be open to its own addresses, though a firewall keeps others from it.
func TestOwnAddressesAreNotPublic(t *testing.T) {
	own, err := net.InterfaceAddrs()
	if err != nil || len(own) == 0 {
		t.Fatal(own, err)
	}
	for _, a := range own {
		if err := onlyPublic(netip.MustParsePrefix(a.String()).Addr()); !errors.Is(err, errPrivate) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if err := onlyPublic(netip.MustParseAddr("8.8.8.8")); err != nil {
		t.Error(err)
	}
}

package egress

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"k6x"
)

func TestPolicySaysWhichHostsMayBeAnywhere(t *testing.T) {
	p := newProxy([]string{
		"GOPROXY=https://old.example", "GOPROXY=https://proxy.example/go,http://plain.example:8081|bare.example,file:///srv,direct",
		"GOSUMDB=sum.example+abc+key https://mirror.example", "GONOPROXY=git.corp.example/*,*.team.example/x", "GOPRIVATE=other.example",
	}, slog.New(slog.DiscardHandler))
	p.Allow("Typed.Example.")
	for address, want := range map[string]string{
		"proxy.example:443": "trusted", "PROXY.example.:443": "trusted", "proxy.example:8443": "", "plain.example:8081": "trusted",
		"plain.example:80": "", "bare.example:443": "trusted", "mirror.example:443": "trusted", "sum.example:443": "", "old.example:443": "",
		"git.corp.example:443": "named", "git.corp.example:8443": "named", "git.corp.example.evil.example:443": "", "a.team.example:22": "named",
		"team.example:443": "", "other.example:443": "", "typed.example:443": "named", "127.0.0.1:443": "", "[::1]:443": "",
		"direct:443": "", "no port": "invalid", "two words:443": "invalid", "a\r\nb:443": "invalid", ":443": "invalid", "user@host:443": "invalid",
	} {
		target, err := p.policy.target(address)
		got := ""
		switch {
		case err != nil && k6x.KindOf(err) == k6x.Invalid:
			got = "invalid"
		case target.trusted:
			got = "trusted"
		case target.anywhere:
			got = "named"
		}
		if got != want {
			t.Errorf("%s is %q, want %q", address, got, want)
		}
	}
	for env, want := range map[string]string{
		"GOPRIVATE=a.example": "a.example", "GONOPROXY=b.example GOPRIVATE=a.example": "b.example",
		"GONOPROXY=none GOPRIVATE=a.example": "", "GOPRIVATE=*,*/*,*.*,*.a.example,b.example/*": "*.a.example,b.example/*",
	} {
		if got := readPolicy(strings.Fields(env)).named; got != want {
			t.Errorf("%s names %q, want %q", env, got, want)
		}
	}
	if !readPolicy(nil).trusted["sum.golang.org:443"] {
		t.Error("the checksum database that is used where none is set is not trusted")
	}
}

func TestPortsAreThoseThatGoCommandsConnectTo(t *testing.T) {
	p, err := Start([]string{"GOPROXY=http://127.0.0.1:3000|https://localhost,https://proxy.example:8443,http://[::1]:3001/x", "GOPRIVATE=127.0.0.1/*"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got, want := p.Ports(), []uint16{p.addr.Port(), 3000, 443, 3001, 443}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Where a proxy of the operator's looks names up, the name is all that can be judged.
func TestSomeNamesAreNeverPublic(t *testing.T) {
	for host, want := range map[string]bool{
		"github.com": false, "1.1.1.1": false, "xn--bcher-kva.example": false, "2600.com": false, "2606:4700::1": false,
		"localhost": true, "a.localhost": true, "metadata": true, "metadata.google.internal": true, "printer.local": true,
		"127.0.0.1": true, "127.1": true, "2130706433": true, "0x7f.1": true, "0x7f000001": true, "0177.0.0.1": true, "::1": true, "::ffff:10.0.0.1": true,
	} {
		if local(host) != want {
			t.Errorf("%s is local: %v", host, !want)
		}
	}
}

func TestCheckRefusesModulesOfHostsThatAreNotPublic(t *testing.T) {
	p := newProxy([]string{"GOPRIVATE=10.0.0.1/*"}, slog.New(slog.DiscardHandler))
	for path, want := range map[string]bool{
		"127.0.0.1/internal": false, "169.254.169.254/latest": false, "10.0.0.2/x": false, "127.1/x": false, "host.internal/x": false,
		"10.0.0.1/x": true, "github.com/me/x": true, "8.8.8.8/x": true,
	} {
		err := p.Check(path)
		if (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
		if err != nil && (k6x.KindOf(err) != k6x.Forbidden || !strings.Contains(err.Error(), "--direct") || !strings.Contains(err.Error(), strings.Split(path, "/")[0])) {
			t.Errorf("%s: %v: %v", path, k6x.KindOf(err), err)
		}
	}
	var none *Proxy
	if err := none.Check("127.0.0.1/internal"); err != nil {
		t.Error(err)
	}
}

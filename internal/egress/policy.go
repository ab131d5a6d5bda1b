package egress

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpproxy"

	"k6x"
)

// policy says which hosts may be at any address.
type policy struct {
	trusted  map[string]bool // host:port of module proxies and checksum databases
	named    string          // patterns as GONOPROXY has them, whose hosts are named
	insecure string          // the same of GOINSECURE
	allowed  *sync.Map       // hosts that are named besides
	upstream func(*url.URL) (*url.URL, error)
	loopback []uint16 // ports that go commands connect to without a proxy
}

func readPolicy(env []string) policy {
	vars := make(map[string]string, len(env))
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		vars[key] = value
	}
	set := func(keys ...string) (value string) {
		for _, key := range keys {
			value = cmp.Or(value, vars[key])
		}
		return value
	}
	p := policy{trusted: make(map[string]bool), allowed: new(sync.Map), insecure: set("GOINSECURE"), named: naming(set("GONOPROXY", "GOPRIVATE"))}
	p.upstream = (&httpproxy.Config{
		HTTPProxy:  set("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"),
		HTTPSProxy: set("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
		NoProxy:    set("NO_PROXY", "no_proxy"),
	}).ProxyFunc()
	for _, u := range append(moduleProxies(set("GOPROXY")), checksumDatabase(set("GOSUMDB"))) {
		p.trust(u)
	}
	if matches(p.named, "127.0.0.1") {
		p.loopback = append(p.loopback, 443)
	}
	return p
}

func moduleProxies(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == '|' })
}

// checksumDatabase returns the URL of a GOSUMDB, which is a name or a key, and maybe a URL.
func checksumDatabase(value string) string {
	words := strings.Fields(value)
	if len(words) == 0 {
		return "sum.golang.org"
	}
	name, _, _ := strings.Cut(words[len(words)-1], "+")
	return name
}

// trust trusts the host of a URL, whose scheme may be left out.
func (p *policy) trust(text string) {
	text = strings.TrimSpace(text)
	if text == "direct" || text == "off" {
		return
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return // no URL, which is reported elsewhere, or a file
	}
	address := hostPort(u)
	p.trusted[address] = true
	host, port, _ := net.SplitHostPort(address)
	// For these, Go programs use no proxy.
	if addr, _ := netip.ParseAddr(host); host == "localhost" || addr.IsLoopback() {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			p.loopback = append(p.loopback, uint16(n))
		}
	}
}

// naming returns those of the patterns that name hosts: * stands for all of them, and names none.
func naming(patterns string) string {
	var list []string
	for pattern := range strings.SplitSeq(patterns, ",") {
		if host, _, _ := strings.Cut(strings.TrimSpace(pattern), "/"); strings.Trim(host, "*?.") != "" && pattern != "none" {
			list = append(list, pattern)
		}
	}
	return strings.Join(list, ",")
}

// matches reports whether one of the patterns is of modules of a host.
func matches(patterns, host string) bool {
	for pattern := range strings.SplitSeq(strings.ToLower(patterns), ",") {
		first, _, _ := strings.Cut(strings.TrimSpace(pattern), "/")
		if ok, err := path.Match(first, host); ok && err == nil {
			return true
		}
	}
	return false
}

// normal returns a host in the one form that is compared.
func normal(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

var hostSyntax = regexp.MustCompile(`^[a-z0-9._-]+$`)

// target is what a client wants to connect to.
type target struct {
	host, port string
	trusted    bool // the operator set it as a module proxy or checksum database
	anywhere   bool // it may be at any address
}

// target reads host:port, or the error for what is none.
func (p *policy) target(address string) (target, error) {
	host, port, err := net.SplitHostPort(address)
	host = normal(host)
	if _, notIP := netip.ParseAddr(host); err != nil || notIP != nil && !hostSyntax.MatchString(host) {
		return target{}, k6x.Errorf(k6x.Invalid, "what is asked for is not a host and a port")
	}
	t := target{host: host, port: port, trusted: p.trusted[net.JoinHostPort(host, port)]}
	_, allowed := p.allowed.Load(host)
	t.anywhere = t.trusted || allowed || matches(p.named, host)
	return t, nil
}

func (t target) String() string { return net.JoinHostPort(t.host, t.port) }

// local reports whether a host is not one of the public internet by its name alone; what looks a name up may read it
// as an address where it ends with a number (https://url.spec.whatwg.org/#host-parsing).
func local(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return !public(addr)
	}
	switch last := host[strings.LastIndexByte(host, '.')+1:]; last {
	case host, "localhost", "local", "internal", "": // RFC 6761, RFC 6762, reserved by ICANN
		return true
	default:
		return '0' <= last[0] && last[0] <= '9'
	}
}

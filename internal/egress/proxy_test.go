package egress

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
)

// network stands in for the internet: what names resolve to, and who is there.
type network struct {
	hosts map[string]place
	mu    sync.Mutex
	seen  []string // host:port that were connected to
}

type place struct {
	addr string // that the name stands for
	at   string // host:port where it really is; "": nobody is there
}

func (n *network) dial(ctx context.Context, address string, permit func(netip.Addr) error) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	p, ok := n.hosts[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if permit != nil {
		if err := permit(netip.MustParseAddr(p.addr)); err != nil {
			return nil, &net.OpError{Op: "dial", Err: err}
		}
	}
	n.mu.Lock()
	n.seen = append(n.seen, address)
	n.mu.Unlock()
	if p.at == "" {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", p.at)
}

func (n *network) connected() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.seen, " ")
}

func at(server *httptest.Server) string { return server.Listener.Addr().String() }

func start(t *testing.T, n *network, env ...string) *Proxy {
	t.Helper()
	return startWith(t, n, func(*Proxy) {}, env...)
}

func startWith(t *testing.T, n *network, set func(*Proxy), env ...string) *Proxy {
	t.Helper()
	p := newProxy(env, slog.New(slog.DiscardHandler))
	p.dial = n.dial
	set(p)
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// client returns one that goes through the proxy as its environment says.
func client(t *testing.T, p *Proxy) *http.Client {
	t.Helper()
	_, value, _ := strings.Cut(p.Environ()[2], "=")
	u, err := url.Parse(value)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(c *http.Client, url string) string {
	resp, err := c.Get(url)
	if err != nil {
		return errors.Unwrap(err).Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return "broken: " + err.Error()
	}
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(data)))
}

func TestWhoIsReached(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" || r.Header.Get("X-Forwarded-For") != "" {
			t.Error("what is for the proxy is passed on")
		}
		_, _ = io.WriteString(w, "hello from "+r.Host+r.URL.Path)
	})
	encrypted, plain := httptest.NewTLSServer(hello), httptest.NewServer(hello)
	defer encrypted.Close()
	defer plain.Close()
	n := &network{hosts: map[string]place{
		"public.example": {"93.184.216.34", at(encrypted)}, "inside.example": {"10.0.0.1", at(encrypted)},
		"named.example": {"127.0.0.1", at(encrypted)}, "proxy.example": {"fd00::1", at(encrypted)},
		"plain.example": {"192.168.0.1", at(plain)}, "insecure.example": {"93.184.216.34", at(plain)},
		"insecure-inside.example": {"10.0.0.1", at(plain)},
		"169.254.169.254":         {"169.254.169.254", at(plain)}, "mapped.example": {"::ffff:127.0.0.1", at(encrypted)},
	}}
	p := start(t, n, "GOPROXY=https://proxy.example,http://plain.example:81,direct", "GONOPROXY=named.example/*", "GOINSECURE=insecure*.example")
	const private = " is not at a public address; nothing is fetched from there unless the operator names it with --direct"
	for target, want := range map[string]string{
		"https://public.example/a":          "200 hello from public.example/a",
		"https://named.example/":            "200 hello from named.example/",
		"https://proxy.example/":            "200 hello from proxy.example/",
		"http://plain.example:81/m/@v/list": "200 hello from plain.example:81/m/@v/list",
		"http://insecure.example/":          "200 hello from insecure.example/",
		"https://inside.example/":           "inside.example" + private,
		"https://mapped.example/":           "mapped.example" + private,
		"https://169.254.169.254/latest/":   "169.254.169.254" + private,
		"https://10.0.0.1/":                 "10.0.0.1" + private,
		"https://proxy.example:8443/":       "proxy.example" + private, // another service of that host
		"http://insecure-inside.example/":   "403 insecure-inside.example" + private,
		"http://public.example/":            "403 nothing is fetched from public.example without encryption unless the operator names it in GOINSECURE",
		"http://169.254.169.254/latest/":    "403 nothing is fetched from 169.254.169.254 without encryption unless the operator names it in GOINSECURE",
		"https://nowhere.example/":          "nowhere.example cannot be reached",
	} {
		before := n.connected()
		if got := get(client(t, p), target); got != want {
			t.Errorf("%s: %s\nwant %s", target, got, want)
		}
		if strings.Contains(want, private) && n.connected() != before {
			t.Errorf("%s: something was connected to", target)
		}
	}
}

func TestOnlyWhoKnowsTheSecretUsesIt(t *testing.T) {
	n := &network{hosts: map[string]place{"public.example": {"93.184.216.34", ""}}}
	p := start(t, n)
	for _, header := range []string{"", "Basic " + base64.StdEncoding.EncodeToString([]byte("k6x:")), "Bearer " + p.secret} {
		for _, method := range []string{"CONNECT public.example:443", "GET http://public.example/"} {
			conn, err := net.Dial("tcp", p.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: public.example\r\nProxy-Authorization: %s\r\nConnection: close\r\n\r\n", method, header)
			answer, _ := io.ReadAll(conn)
			conn.Close()
			if !strings.HasPrefix(string(answer), "HTTP/1.1 407 ") || !strings.Contains(string(answer), "Proxy-Authenticate: Basic") {
				t.Errorf("%s with %q: %s", method, header, answer)
			}
		}
	}
	if seen := n.connected(); seen != "" {
		t.Errorf("connected to %s", seen)
	}
	resp, err := http.Get("http://" + p.addr.String() + "/")
	if err != nil || resp.StatusCode != http.StatusProxyAuthRequired {
		t.Errorf("as a web server: %v, %v", resp, err)
	}
}

func TestHostThatCannotBeConnectedToInTimeIsLeftAlone(t *testing.T) {
	n := &network{hosts: map[string]place{"slow.example": {"93.184.216.34", ""}}}
	p := startWith(t, n, func(p *Proxy) { p.dialTime = 10 * time.Millisecond })
	for range 2 {
		if got, want := get(client(t, p), "https://slow.example/"), "slow.example did not answer and is left alone for ten minutes"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := n.connected(); got != "slow.example:443" {
		t.Errorf("connected to %s, want once", got)
	}
}

func TestPlainRequestWithoutProgressEnds(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
		}
		<-release
	}))
	defer server.Close()
	defer close(release)
	n := &network{hosts: map[string]place{"slow.example": {"93.184.216.34", at(server)}, "proxy.example": {"10.0.0.1", at(server)}}}
	p := startWith(t, n, func(p *Proxy) { p.idle = 100 * time.Millisecond }, "GOINSECURE=slow.example", "GOPROXY=http://proxy.example")
	if got := get(client(t, p), "http://proxy.example/half"); !strings.HasPrefix(got, "broken: ") {
		t.Errorf("half an answer: %s", got)
	}
	if got := get(client(t, p), "http://proxy.example/"); got != "504 proxy.example did not answer" {
		t.Errorf("a module proxy that does not answer: %s", got)
	}
	for range 2 {
		if got := get(client(t, p), "http://slow.example/"); got != "504 slow.example did not answer and is left alone for ten minutes" {
			t.Error(got)
		}
	}
	if got := n.connected(); strings.Count(got, "slow.example") != 1 || strings.Count(got, "proxy.example") != 2 {
		t.Errorf("connected to %s", got)
	}
}

// upstream is a proxy such as an operator has.
func upstream(t *testing.T, n *network, wrap func(http.Handler) *httptest.Server) *httptest.Server {
	s := wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("me:p@ss")) {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			_, _ = io.WriteString(w, "upstream has "+r.URL.String())
			return
		}
		if strings.HasPrefix(r.Host, "slow.") {
			w.WriteHeader(http.StatusGatewayTimeout)
			return
		}
		far, err := n.dial(r.Context(), r.Host, nil)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer far.Close()
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer near.Close()
		_, _ = io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(far, near) }()
		_, _ = io.Copy(near, far)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestUpstreamProxyIsUsedAsTheOperatorSays(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer server.Close()
	outside := &network{hosts: map[string]place{"public.example": {"93.184.216.34", at(server)}, "10.0.0.1": {"10.0.0.1", at(server)}}}
	up := upstream(t, outside, httptest.NewServer)
	n := &network{hosts: map[string]place{"gate.example": {"10.0.0.9", at(up)}, "near.example": {"93.184.216.34", at(server)}, "inside.example": {"10.0.0.1", at(server)}}}
	p := start(t, n, "HTTPS_PROXY=http://me:p%40ss@gate.example:3128", "HTTP_PROXY=http://me:p%40ss@gate.example:3128", "NO_PROXY=near.example,inside.example",
		"GOPROXY=http://proxy.example", "GONOPROXY=10.0.0.1")
	for target, want := range map[string]string{
		"https://public.example/":    "200 hello",
		"https://10.0.0.1/":          "200 hello", // named
		"https://near.example/":      "200 hello",
		"http://proxy.example/a?b=c": "200 upstream has http://proxy.example/a?b=c",
		"https://inside.example/":    "inside.example is not at a public address; nothing is fetched from there unless the operator names it with --direct",
		"https://127.0.0.2/":         "127.0.0.2 is not at a public address; nothing is fetched from there unless the operator names it with --direct",
		"https://db.internal/":       "db.internal is not at a public address; nothing is fetched from there unless the operator names it with --direct",
		"https://nobody.example/":    "nobody.example cannot be reached",
		"https://slow.example/":      "slow.example did not answer and is left alone for ten minutes",
	} {
		if got := get(client(t, p), target); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	if got := n.connected(); strings.Contains(got, "public.example") || strings.Contains(got, "inside.example") || !strings.Contains(got, "near.example") {
		t.Errorf("connected to %s", got)
	}
}

func TestUpstreamProxyThatIsDownIsNoFaultOfTheHost(t *testing.T) {
	n := &network{hosts: map[string]place{"gate.example": {"10.0.0.9", ""}}}
	p := startWith(t, n, func(p *Proxy) { p.dialTime = 10 * time.Millisecond }, "ALL_PROXY=http://gate.example:3128", "GOINSECURE=public.example")
	for _, target := range []string{"https://public.example/", "http://public.example/"} {
		if got := get(client(t, p), target); !strings.HasSuffix(got, "public.example cannot be reached") {
			t.Errorf("%s: %s", target, got)
		}
	}
	if err := p.Check("public.example/x"); err != nil {
		t.Error(err)
	}
}

func TestUpstreamProxyMayBeEncryptedOrSOCKS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer server.Close()
	outside := &network{hosts: map[string]place{"public.example": {"93.184.216.34", at(server)}}}
	// Nothing trusts the test's certificate: that it is looked at is what shows.
	up := upstream(t, outside, httptest.NewTLSServer)
	p := start(t, &network{hosts: map[string]place{"gate.example": {"10.0.0.9", at(up)}}}, "HTTPS_PROXY=https://me:p%40ss@gate.example")
	_, err := p.open(t.Context(), target{host: "public.example", port: "443"})
	if unknown := (*tls.CertificateVerificationError)(nil); !errors.As(err, &unknown) {
		t.Errorf("an upstream proxy that nobody vouches for: %v", err)
	}

	socks, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socks.Close()
	asked := make(chan string, 1)
	go func() {
		conn, err := socks.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		read := func(n int) []byte { b := make([]byte, n); _, _ = io.ReadFull(conn, b); return b }
		read(int(read(2)[1]))                                   // RFC 1928: which ways to say who one is
		_, _ = conn.Write([]byte{5, 0})                         // none
		name := read(int(read(5)[4]))                           // what to connect to, by its name
		read(2)                                                 // port
		_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}) // done
		asked <- string(name)
	}()
	p = start(t, &network{}, "ALL_PROXY=socks5://"+socks.Addr().String())
	conn, err := p.open(t.Context(), target{host: "public.example", port: "443"})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := <-asked; got != "public.example" {
		t.Errorf("asked for %q", got)
	}
}

func TestExplainFindsHostsInOutput(t *testing.T) {
	p := testProxy()
	p.note(target{host: "inside.example"}, refused)
	p.note(target{host: "slow.example"}, silent)
	p.note(target{host: "::1"}, refused)
	for output, want := range map[string]k6x.Kind{
		"":                                 -1,
		"go: other.example/x@v1.0.0: gone": -1,
		"fatal: unable to access 'https://inside.example/x/': CONNECT tunnel failed, response 403": k6x.Forbidden,
		"fatal: unable to access 'https://me@Slow.Example:8443/x/': response 504":                  k6x.Unavailable,
		"Get \"https://[::1]:443/\": no": k6x.Forbidden,
		"not-inside.example":             -1,
		"inside.example.com":             -1,
	} {
		got := p.Explain(output)
		if want < 0 && got != nil || want >= 0 && (got == nil || got.Kind != want) {
			t.Errorf("%q: %v", output, got)
		}
	}
	var none *Proxy
	if none.Explain("inside.example") != nil || none.Environ() != nil || none.Ports() != nil || none.Close() != nil {
		t.Error("no proxy is one")
	}
	none.Allow("inside.example")
}

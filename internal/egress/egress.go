// Package egress is the way to the network for go commands and the git that they start, which connect to hosts that
// strangers name: an HTTP proxy on the loopback interface, one for each process of k6x.
//
// The operator's settings say which hosts are trusted or named ([Proxy.Allow] names more), and may be at any address
// (policy.go); all others have to be at a public one (address.go). Where the operator has a proxy of his own, it is the
// next on the way (upstream.go). What makes no progress is ended (tunnel.go, plain.go), and a host that does not
// answer is left alone for a while (silence.go). Since programs tell little of what a proxy says, [Proxy.Explain] does.
//
// Go programs use no proxy for localhost and loopback addresses in URLs. Those that they need are in [Proxy.Ports], for the
// sandbox; [Proxy.Check] keeps modules of such a host from them.
package egress

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/net/netutil"

	"k6x"
)

const (
	maxConnections = 256
	maxHosts       = 1024 // that something is remembered of
	headerTime     = 10 * time.Second
)

// Proxy is the way to the network. Make one with [Start]. A nil Proxy is none: programs connect by themselves.
type Proxy struct {
	policy policy
	log    *slog.Logger
	server *http.Server
	addr   netip.AddrPort
	secret string

	dialTime time.Duration // to connect, names and upstream proxies included
	idle     time.Duration // without a byte in either direction, after which a connection ends
	patience time.Duration // without a first byte, after which a host may be silent
	alone    time.Duration // how long a silent host is left alone
	now      func() time.Time
	dial     func(ctx context.Context, address string, permit func(netip.Addr) error) (net.Conn, error)

	hosts *lru.Cache[string, record]
	stop  context.CancelFunc // ends what is under way
}

// Start listens on a port of its own. Env are KEY=VALUE as the go command gets them without the proxy: GOPROXY, GOSUMDB,
// GONOPROXY, GOPRIVATE, GOINSECURE and the operator's proxies are read from it; later ones win. Log may be nil.
func Start(env []string, log *slog.Logger) (*Proxy, error) {
	p := newProxy(env, cmp.Or(log, slog.New(slog.DiscardHandler)))
	if err := p.listen(); err != nil {
		return nil, k6x.Errorf(k6x.Internal, "no port for fetching modules: %w", err)
	}
	return p, nil
}

func (p *Proxy) listen() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.addr = listener.Addr().(*net.TCPAddr).AddrPort()
	go func() { _ = p.server.Serve(netutil.LimitListener(listener, maxConnections)) }() // ends with Close
	return nil
}

func newProxy(env []string, log *slog.Logger) *Proxy {
	p := &Proxy{
		policy: readPolicy(env), log: log, secret: rand.Text(), dial: dial, now: time.Now,
		dialTime: 30 * time.Second, idle: time.Minute, patience: 8 * time.Second, alone: 10 * time.Minute,
	}
	p.hosts, _ = lru.New[string, record](maxHosts) // fails for a size below one only
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: headerTime, IdleTimeout: headerTime, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return p
}

// Close ends all connections.
func (p *Proxy) Close() error {
	if p == nil {
		return nil
	}
	p.stop()
	return p.server.Close()
}

// Environ returns KEY=VALUE that send programs this way. There is a secret in it, so that no other program uses it.
func (p *Proxy) Environ() []string {
	if p == nil {
		return nil
	}
	env := []string{"NO_PROXY=", "no_proxy="}
	for _, key := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		env = append(env, key+"=http://"+user+":"+p.secret+"@"+p.addr.String())
	}
	return env
}

// Ports returns the TCP ports of this machine that programs connect to: that of the proxy, and those that settings name with a
// loopback address.
func (p *Proxy) Ports() []uint16 {
	if p == nil {
		return nil
	}
	return append([]uint16{p.addr.Port()}, p.policy.loopback...)
}

// Allow names a host, as if a setting of the operator did.
func (p *Proxy) Allow(host string) {
	if p != nil {
		p.policy.allowed.Store(normal(host), true)
	}
}

const user = "k6x" // of the proxy; any name will do

func (p *Proxy) authorized(r *http.Request) bool {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+p.secret))
	return subtle.ConstantTimeCompare([]byte(r.Header.Get("Proxy-Authorization")), []byte(want)) == 1
}

// ServeHTTP is the proxy as its clients see it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !p.authorized(r):
		w.Header().Set("Proxy-Authenticate", `Basic realm="k6x"`) // curl waits to be asked
		w.WriteHeader(http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		p.connect(w, r)
	case r.URL.Scheme == "http" && r.URL.Host != "":
		p.forward(w, r)
	default:
		http.Error(w, "this is a proxy for fetching modules", http.StatusBadRequest)
	}
}

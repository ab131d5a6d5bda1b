package remote

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"k6x"
)

// Below the URL of the service are where workers connect, and what they read of its build cache.
const (
	ConnectPath = "/worker/nats"
	CachePath   = "/worker/cache"
)

const (
	ownName        = "*" // of the service's connection, which no worker can have
	maxConnections = 10_000
	ownConnections = 4   // of the service, with some to spare while one takes the place of another
	maxSubjects    = 100 // that a connection may listen to
	startTime      = 30 * time.Second
	reopenTime     = 5 * time.Second // between two tries
)

// Broker is the way to the workers: an embedded NATS server, or a connection to servers of the operator's.
type Broker struct {
	conn    *nats.Conn
	servers []string       // of the operator; nil: it is embedded
	server  *server.Server // nil: it is not
	kept    server.JetStreamConfig
	proxy   http.Handler
	own     string // password
	log     *slog.Logger

	roster  atomic.Pointer[Roster] // nil until it is read
	refused atomic.Int64           // what workers had no right to

	mu       sync.Mutex // guards what follows
	since    time.Time
	said     map[string]bool      // of what was refused, since then
	cut      map[string]time.Time // until when a worker is not let in
	reopened time.Time
}

// Embed starts a server that keeps what it keeps in dir, for so many workers: each takes three open files. No address of it but one of the loopback interface is
// listened on, and only for WebSockets.
func Embed(dir string, workers int, log *slog.Logger) (_ *Broker, err error) {
	b := &Broker{own: rand.Text(), log: log, said: make(map[string]bool), cut: make(map[string]time.Time)}
	b.kept = server.JetStreamConfig{StoreDir: dir, MaxMemory: 16 << 20, MaxStore: 256 << 20}
	options := &server.Options{
		ServerName: "k6x", DontListen: true, NoSigs: true, JetStream: true, StoreDir: dir, DisableJetStreamBanner: true,
		JetStreamMaxMemory: b.kept.MaxMemory, JetStreamMaxStore: b.kept.MaxStore, MaxConn: min(workers+ownConnections, maxConnections), MaxSubs: maxSubjects, CustomClientAuthentication: b,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoTLS: true, HandshakeTimeout: 10 * time.Second},
	}
	if b.server, err = server.NewServer(options); err != nil {
		return nil, k6x.Errorf(k6x.Internal, "NATS cannot be started: %w", err)
	}
	b.server.SetLoggerV2(&serverLog{b}, false, false, false)
	b.server.Start()
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if !b.server.ReadyForConnections(startTime) {
		return nil, k6x.Errorf(k6x.Internal, "NATS did not start within %s", startTime)
	}
	to, err := url.Parse(strings.Replace(b.server.WebsocketURL(), "ws", "http", 1))
	if err != nil {
		return nil, err
	}
	b.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.URL.Path, r.Out.URL.RawPath = "/", ""
			r.Out.Header.Del("Authorization")
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	b.conn, err = nats.Connect("", append(lasting(0, log), nats.InProcessServer(b.server), nats.UserInfo(ownName, b.own))...)
	return b, err
}

// Dial connects to servers of the operator, with a file of credentials or "".
func Dial(servers []string, credentials string, log *slog.Logger) (*Broker, error) {
	b := &Broker{log: log, said: make(map[string]bool)}
	for _, server := range servers {
		u, err := url.Parse(server)
		if err != nil { // of which the text has the password
			return nil, k6x.Errorf(k6x.Invalid, "a server of --nats is no URL")
		}
		u.User = nil // which is this service's, and no worker's
		b.servers = append(b.servers, u.String())
	}
	options := append(lasting(0, log), nats.Name("k6x service"), nats.IgnoreAuthErrorAbort()) // its credentials may be changed here first
	if credentials != "" {
		options = append(options, nats.UserCredentials(credentials))
	}
	var err error
	if b.conn, err = nats.Connect(strings.Join(servers, ","), options...); err != nil {
		return nil, k6x.Errorf(k6x.Unavailable, "NATS cannot be reached: %w", err).WithHint("See --nats and --nats-creds.")
	}
	return b, nil
}

// lasting returns the options of a connection that is to be there for good, and to be found out soon if it is not.
func lasting(pace Pace, log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond), nats.ReconnectJitter(500*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(2 * pace.hello()), nats.MaxPingsOutstanding(2), nats.Timeout(10 * time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("nats", "error", err) }), // which it would print
	}
}

const (
	quietTime  = time.Minute // for which the same of the same worker is logged once
	maxRefused = 100         // lines in that time
	cutTime    = time.Minute // for which one that was cut off is not let in
)

// refuse counts what a worker had no right to, and logs it.
func (b *Broker) refuse(who, what string, attrs ...any) {
	b.refused.Add(1)
	b.mu.Lock()
	if time.Since(b.since) > quietTime {
		b.since = time.Now()
		clear(b.said)
	}
	key := who + " " + what
	quiet := b.said[key] || len(b.said) >= maxRefused
	if !quiet {
		b.said[key] = true
	}
	b.mu.Unlock()
	if !quiet {
		b.log.Warn("a worker was refused: "+what, append([]any{"worker", k6x.Clip(who)}, attrs...)...)
	}
}

// Check implements [server.Authentication].
func (b *Broker) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if o.Username == ownName && subtle.ConstantTimeCompare([]byte(b.own), []byte(o.Password)) == 1 {
		return true
	}
	if b.admit(o.Username, o.Password) != nil {
		return false
	}
	c.RegisterUser(&server.User{Username: o.Username, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{fromWorker(o.Username, "*")}},
		Subscribe: &server.SubjectPermission{Allow: []string{toWorker(o.Username), inbox(o.Username) + ".>"}},
	}})
	go b.kick(o.Username, true)
	return true
}

// admit returns an error unless a worker may connect, and has one that may not refused. All names that nobody has are one in the log.
//
// Errors: Unauthorized; Unavailable if it cannot be told now, Busy if it was cut off: then it is to try again.
func (b *Broker) admit(name, password string, attrs ...any) error {
	b.mu.Lock()
	cut := time.Until(b.cut[name])
	b.mu.Unlock()
	r := b.roster.Load()
	if r == nil || r.of(name).Standing == "" && !b.conn.IsConnected() { // where it is that another service has let it in
		return k6x.Errorf(k6x.Unavailable, "it cannot be told now which workers may connect").WithRetry(changeTime)
	}
	if !r.knows(name, password) {
		who := ""
		if r.of(name).Standing != "" {
			who = name
		}
		b.refuse(who, "its credential is not known, or was taken back", append(attrs, "name", k6x.Clip(name))...)
		return k6x.Errorf(k6x.Unauthorized, "the credential of this worker is not known, or was taken back")
	}
	if cut > 0 {
		b.refuse(name, "it sent too much, and is not let in for a while", attrs...)
		return k6x.Errorf(k6x.Busy, "this worker sent too much, and is not let in for a while").WithRetry(cut)
	}
	return nil
}

// cutOff ends the connections of a worker, and lets it make none for [cutTime].
func (b *Broker) cutOff(name string) {
	if b.server == nil {
		return
	}
	b.mu.Lock()
	now := time.Now()
	maps.DeleteFunc(b.cut, func(_ string, until time.Time) bool { return until.Before(now) })
	b.cut[name] = now.Add(cutTime)
	b.mu.Unlock()
	b.kick(name, false)
}

// kick ends the connections of a worker, or those before its newest.
func (b *Broker) kick(name string, butNewest bool) {
	if b.server == nil {
		return
	}
	list, err := b.server.Connz(&server.ConnzOptions{Username: true, User: name, Limit: maxConnections})
	if err != nil {
		b.log.Error("connections of a worker cannot be ended", "worker", name, "error", err)
		return
	}
	own := slices.DeleteFunc(list.Conns, func(c *server.ConnInfo) bool { return c.AuthorizedUser != name }) // the oldest first
	for i, c := range own {
		if i < len(own)-1 || !butNewest {
			_ = b.server.DisconnectClientByID(c.Cid) // it may have ended
		}
	}
}

// ServeHTTP passes on the connection of a worker, which shows its credential here, too. Errors: those of [Broker.Worker], and NotFound for what is no such connection.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if b.proxy == nil || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return k6x.Errorf(k6x.NotFound, "there is nothing but the connections of workers here").WithHint("Run k6x worker.")
	}
	if _, err := b.Worker(r); err != nil { // NATS finds that out, too, but holds files open until then
		return err
	}
	b.proxy.ServeHTTP(w, r)
	return nil
}

// Worker returns the name of the worker whose credential a request shows. Errors: Unauthorized; Unavailable, Busy if it is to try again.
func (b *Broker) Worker(r *http.Request) (name string, err error) {
	name, password, _ := r.BasicAuth()
	return name, b.admit(name, password, "addr", r.RemoteAddr)
}

// Reader is [Broker.Worker] for what a worker gets that is believed. Errors: also Forbidden.
func (b *Broker) Reader(r *http.Request) (name string, err error) {
	if name, err = b.Worker(r); err == nil && b.roster.Load().of(name).Standing == Quarantined {
		return "", k6x.Errorf(k6x.Forbidden, "this worker is quarantined, and gets nothing more").WithHint("/status says why. An operator lets it in again with k6x workers admit.")
	}
	return name, err
}

// reopen has an embedded server read again what it keeps, as it writes nothing more after a disk was full.
func (b *Broker) reopen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil || time.Since(b.reopened) < reopenTime {
		return
	}
	b.reopened = time.Now()
	cfg := b.kept // which it changes
	if err := errors.Join(b.server.ShutdownJetStream(), b.server.EnableJetStream(&cfg)); err != nil {
		b.log.Error("JetStream cannot be opened again", "error", err)
	}
}

// Close ends all connections.
func (b *Broker) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
}

// serverLog is the log of the embedded server. What is against the permissions of a worker is known only from there.
type serverLog struct{ b *Broker }

func (l *serverLog) say(level slog.Level, format string, args []any) {
	text := k6x.ClipTo(fmt.Sprintf(format, args...), 500)
	switch {
	case strings.Contains(format, "Violation"):
		l.b.refuse(connection.FindString(format), "it may not do that", "nats", text)
		return
	case strings.Contains(format, "not configured with TLS"): // the service is, or the proxy in front of it
		level = slog.LevelDebug
	}
	l.b.log.Log(context.Background(), level, "nats: "+text)
}

var connection = regexp.MustCompile(`wid:\d+`) // number of one, in the log

func (l *serverLog) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *serverLog) Warnf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }
func (l *serverLog) Errorf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) } // mostly of clients that went away
func (l *serverLog) Fatalf(format string, args ...any)  { l.say(slog.LevelError, format, args) }
func (l *serverLog) Debugf(string, ...any)              {}
func (l *serverLog) Tracef(string, ...any)              {}

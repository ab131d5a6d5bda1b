package remote

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"k6x"
)

// ConnectPath is where workers connect, below the URL of the service.
const ConnectPath = "/worker/nats"

const (
	ownName        = "*" // of the service's connection, which no worker can have
	maxConnections = 10_000
	startTime      = 30 * time.Second
)

// Broker is the way to the workers: an embedded NATS server, or a connection to servers of the operator's.
type Broker struct {
	conn    *nats.Conn
	servers []string       // of the operator; nil: it is embedded
	server  *server.Server // nil: it is not
	proxy   http.Handler
	own     string // password
	log     *slog.Logger

	roster  atomic.Pointer[Roster] // nil until it is read
	refused atomic.Int64           // connections and subjects
}

// Embed starts a server that keeps what it keeps in dir. No address of it but one of the loopback interface is listened on, and only for WebSockets.
func Embed(dir string, log *slog.Logger) (_ *Broker, err error) {
	b := &Broker{own: rand.Text(), log: log}
	options := &server.Options{
		ServerName: "k6x", DontListen: true, NoSigs: true, JetStream: true, StoreDir: dir, DisableJetStreamBanner: true,
		JetStreamMaxMemory: 16 << 20, JetStreamMaxStore: 256 << 20, MaxConn: maxConnections, CustomClientAuthentication: b,
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
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.URL.Path, r.Out.URL.RawPath = "/", "" },
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	b.conn, err = nats.Connect("", nats.InProcessServer(b.server), nats.UserInfo(ownName, b.own), nats.MaxReconnects(-1))
	return b, err
}

// Dial connects to servers of the operator, with a file of credentials or "".
func Dial(servers []string, credentials string, log *slog.Logger) (*Broker, error) {
	options := []nats.Option{nats.Name("k6x service"), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second)}
	if credentials != "" {
		options = append(options, nats.UserCredentials(credentials))
	}
	conn, err := nats.Connect(strings.Join(servers, ","), options...)
	if err != nil {
		return nil, k6x.Errorf(k6x.Unavailable, "NATS cannot be reached: %w", err).WithHint("See --nats and --nats-creds.")
	}
	b := &Broker{conn: conn, log: log}
	for _, server := range servers {
		u, err := url.Parse(server)
		if err != nil {
			return nil, k6x.Errorf(k6x.Invalid, "a server of --nats is no URL")
		}
		u.User = nil // which is this service's, and no worker's
		b.servers = append(b.servers, u.String())
	}
	return b, nil
}

// Check implements [server.Authentication].
func (b *Broker) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if o.Username == ownName && subtle.ConstantTimeCompare([]byte(b.own), []byte(o.Password)) == 1 {
		return true
	}
	if r := b.roster.Load(); r == nil || !r.knows(o.Username, o.Password) {
		b.refused.Add(1)
		b.log.Warn("a worker was refused: its credential is not known, or was taken back", "worker", k6x.Clip(o.Username), "addr", c.RemoteAddress().String())
		return false
	}
	c.RegisterUser(&server.User{Username: o.Username, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{fromWorker(o.Username, "*")}},
		Subscribe: &server.SubjectPermission{Allow: []string{toWorker(o.Username), inbox(o.Username) + ".>"}},
	}})
	return true
}

// kick ends the connections of a worker.
func (b *Broker) kick(name string) {
	if b.server == nil {
		return
	}
	list, err := b.server.Connz(&server.ConnzOptions{Username: true, Limit: maxConnections})
	if err != nil {
		b.log.Error("connections of a worker cannot be ended", "worker", name, "error", err)
		return
	}
	for _, c := range list.Conns {
		if c.AuthorizedUser == name {
			_ = b.server.DisconnectClientByID(c.Cid) // it may have ended
		}
	}
}

// ServeHTTP passes on the connection of a worker.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if b.proxy == nil || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return k6x.Errorf(k6x.NotFound, "there is nothing but the connections of workers here").WithHint("Run k6x worker.")
	}
	b.proxy.ServeHTTP(w, r)
	return nil
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
	switch {
	case strings.Contains(format, "Violation"):
		l.b.refused.Add(1)
		level = slog.LevelWarn
	case strings.Contains(format, "not configured with TLS"): // the service is, or the proxy in front of it
		level = slog.LevelDebug
	}
	l.b.log.Log(context.Background(), level, "nats: "+k6x.ClipTo(fmt.Sprintf(format, args...), 500))
}

func (l *serverLog) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *serverLog) Warnf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }
func (l *serverLog) Errorf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) } // mostly of clients that went away
func (l *serverLog) Fatalf(format string, args ...any)  { l.say(slog.LevelError, format, args) }
func (l *serverLog) Debugf(string, ...any)              {}
func (l *serverLog) Tracef(string, ...any)              {}

package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/workdir"
	"k6x/builder/native"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// testPace is quick, but not so that a machine with ten times as much to do as it can has no time for an answer.
const testPace = Pace(time.Second)

// shared is the engine that makes what workers deliver, and judges it.
var shared struct {
	sync.Mutex
	dir   string
	built map[string]made
}

// made is what a real build made.
type made struct {
	binary []byte
	build  k6x.Build
}

func TestMain(m *testing.M) {
	temp, err := os.MkdirTemp("", "remote")
	if err == nil {
		shared.dir, shared.built = temp, make(map[string]made)
		err = warmcache.CopyStandard(filepath.Join(temp, "gocache"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // as they wait most of the time
	code := m.Run()
	_ = workdir.RemoveAll(temp)
	os.Exit(code)
}

// newNative returns an engine over the stand-in modules, with directories of its own but for the caches of all.
func newNative(t *testing.T, dir string) *native.Engine {
	t.Helper()
	proxy := testmod.Serve(t, "../../testdata/standin")
	tool, err := gotool.Find(t.Context(), []string{"GOPROXY=" + proxy, "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB="}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := native.New(t.Context(), native.Config{Tool: tool, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// recipe returns that of the stand-in k6 with extensions, such as hello@v0.1.0.
func (r *rig) recipe(extensions ...string) k6x.Recipe {
	modules := []k6x.Module{{Path: "go.k6.io/k6", Version: "v1.0.0", Names: []string{"k6"}}}
	for _, item := range extensions {
		name, version, _ := strings.Cut(item, "@")
		modules = append(modules, k6x.Module{Path: "example.com/xk6-" + name, Version: version, Names: []string{"k6/x/" + name}})
	}
	return k6x.NewRecipe(k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}, modules, false, r.native.Settings())
}

// make makes the binary of a recipe, once for all tests.
func (r *rig) make(recipe k6x.Recipe) made {
	shared.Lock()
	defer shared.Unlock()
	if got, ok := shared.built[recipe.Key()]; ok {
		return got
	}
	var binary bytes.Buffer
	build, err := r.native.Build(context.Background(), builder.Job{Recipe: recipe}, nil, &binary)
	if err != nil {
		r.t.Error(err)
	}
	got := made{binary.Bytes(), build}
	shared.built[recipe.Key()] = got
	return got
}

// rig is a service with real parts, as far as workers go.
type rig struct {
	t      *testing.T
	dir    string
	addr   string
	native *native.Engine
	store  interface {
		cache.Store
		Close() error
	}
	bucket *bucket.Store // in which workers put binaries; nil: there is none
	broker *Broker
	hub    *Hub
	limit  *builder.Limit
	dedup  *builder.Dedup
	server *httptest.Server
	log    *logText
	most   int64
	slots  int
	verify float64
	nats   func(user string) string // its URL for a user; nil: it is embedded

	mu     sync.Mutex
	events []event.Event
}

type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRig(t *testing.T, options ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), native: newNative(t, shared.dir), log: new(logText), addr: "127.0.0.1:0"}
	for _, o := range options {
		o(r)
	}
	if r.store == nil {
		var err error
		if r.store, err = dir.Open(dir.Config{Dir: filepath.Join(r.dir, "store")}); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	t.Cleanup(func() {
		r.stop()
		_ = r.store.Close()
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

// startNATS starts a NATS of an operator, at which a service may do all, and these workers what they need. As returns its URL for one of them.
func startNATS(t *testing.T, workers ...string) (as func(user string) string) {
	t.Helper()
	may := func(subjects ...string) *server.SubjectPermission { return &server.SubjectPermission{Allow: subjects} }
	users := []*server.User{{Username: "service", Password: "p"}}
	for _, name := range workers {
		users = append(users, &server.User{Username: name, Password: "p", Permissions: &server.Permissions{
			Publish: may(fromWorker(name, "*")), Subscribe: may(toWorker(name), inbox(name)+".>"),
		}})
	}
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), Users: users})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() {
		nats.Shutdown()
		nats.WaitForShutdown()
	})
	if !nats.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	return func(user string) string { return strings.Replace(nats.ClientURL(), "nats://", "nats://"+user+":p@", 1) }
}

func (r *rig) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start starts the service, at the address that it had before if it had one.
func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.nats != nil {
		r.broker, err = Dial([]string{r.nats("service")}, "", r.logger())
	} else {
		r.broker, err = Embed(filepath.Join(r.dir, "nats"), 100, r.logger())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.hub, err = Open(Config{Broker: r.broker, Here: r.native, Slots: r.slots, Engine: r.native, Store: r.bucket, Logger: r.logger(), Pace: testPace, Most: r.most})
	if err != nil {
		r.t.Fatal(err)
	}
	note := func(e event.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	var verify event.Sink
	record := func(e event.Event) {
		note(e)
		verify.Send(e)
	}
	r.limit = builder.NewLimit(builder.Keep(r.hub, r.store, record), builder.LimitConfig{Places: r.hub, Queue: 1000, Events: record})
	r.hub.Start(r.limit.Wake)
	r.dedup = builder.NewDedup(r.limit, builder.DedupConfig{Events: record, Linger: 100 * time.Millisecond})
	verify = r.hub.Verify(r.verify, r.store.Record, r.dedup)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /base"+RegisterPath, func(w http.ResponseWriter, req *http.Request) {
		var body Registration
		_ = json.NewDecoder(req.Body).Decode(&body)
		c, err := r.hub.Register(req.Context(), body)
		if r.nats != nil {
			c.Servers = []string{r.nats(body.Name)} // with what a file of credentials would have
		}
		if err != nil {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]any{"kind": k6x.KindOf(err), "detail": err.Error()})
			return
		}
		_ = json.NewEncoder(w).Encode(c)
	})
	mux.HandleFunc("GET /base"+ConnectPath, func(w http.ResponseWriter, req *http.Request) {
		if err := r.broker.ServeHTTP(w, req); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	listener, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = listener.Addr().String()
	r.server = httptest.NewUnstartedServer(mux)
	r.server.Listener = listener
	r.server.Start()
}

func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.dedup.Close(ctx); err != nil {
		r.t.Error(err)
	}
	r.hub.Close()
	r.broker.Close()
	r.server.CloseClientConnections()
	r.server.Close()
}

func (r *rig) url() *url.URL { return &url.URL{Scheme: "http", Host: r.addr, Path: "/base"} }

// build asks for a recipe.
func (r *rig) build(recipe k6x.Recipe) <-chan error {
	done := make(chan error, 1)
	go func() {
		artifact, err := r.dedup.Build(r.t.Context(), builder.Job{Recipe: recipe, Client: "client"})
		if err == nil && artifact.Size == 0 {
			err = errors.New("there is no binary")
		}
		done <- err
	}()
	return done
}

func (r *rig) wait(done <-chan error) error {
	r.t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(45 * time.Second):
		r.t.Fatalf("nobody was answered\n%s", r.log.String())
		return nil
	}
}

// of returns the events of a type.
func (r *rig) of(what event.Type) (list []event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Type == what {
			list = append(list, e)
		}
	}
	return list
}

// until waits until something holds.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	for range 450 {
		if holds() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("%s: it did not come to that\n%s", what, r.log.String())
}

// working returns what the hub knows of a worker.
func (r *rig) working(name string) builder.Worker {
	for _, w := range r.hub.Pool().Workers {
		if w.Name == name {
			return w
		}
	}
	return builder.Worker{}
}

// there reports whether a worker is heard of.
func (r *rig) there(name string) bool {
	w := r.working(name)
	return !w.Seen.IsZero() && w.State != "away"
}

// machine is a worker of a test.
type machine struct {
	*Worker
	rig    *rig
	wire   *cutter
	drain  chan struct{}
	kill   context.CancelFunc // as a second signal
	ended  chan error
	builds atomic.Int32
	begun  chan builder.Job // of builds
	hold   chan struct{}    // builds end once it is closed; nil: at once
	engine builder.EngineFunc
	temps  string
}

// work starts a worker with so many slots, whose builds end when hold is closed. Change is for what the test wants to be otherwise.
func (r *rig) work(name string, slots int, hold chan struct{}, change ...func(*machine, *WorkerConfig)) *machine {
	r.t.Helper()
	m := &machine{rig: r, drain: make(chan struct{}), ended: make(chan error, 1), begun: make(chan builder.Job, 100), hold: hold, wire: newCutter(r.t, r.addr), temps: r.t.TempDir()}
	m.engine = func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
		m.builds.Add(1)
		m.begun <- job
		report.Progress(event.Linking, "k6", 0, 0)
		report(event.Event{Type: event.Output, Output: "said by " + name + "\n"})
		if m.hold != nil {
			select {
			case <-m.hold:
			case <-ctx.Done():
				return k6x.Build{}, ctx.Err()
			}
		}
		got := r.make(job.Recipe)
		_, err := w.Write(got.binary)
		return got.build, err
	}
	u := r.url()
	u.Host = m.wire.addr()
	cfg := WorkerConfig{
		URL: u, Token: "token", Name: name, Logger: r.logger().With("at", name), Pace: testPace,
		Machine:  Machine{Version: "v1", Platform: "linux/amd64", CPUs: 2, Memory: 1 << 30, Toolchains: []string{r.native.Settings().Toolchain}, Slots: slots},
		MakeTemp: func() (string, error) { return os.MkdirTemp(m.temps, "") }, Remove: func(dir string) { _ = os.RemoveAll(dir) },
	}
	for _, f := range change {
		f(m, &cfg)
	}
	cfg.Engine = m.engine
	var err error
	if m.Worker, err = NewWorker(cfg); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.kill = cancel
	go func() { m.ended <- m.Run(ctx, m.drain) }()
	r.t.Cleanup(func() {
		cancel()
		m.wire.cut(true)
		select {
		case <-m.ended:
		case <-time.After(30 * time.Second):
			r.t.Errorf("worker %s does not end", name)
		}
	})
	r.until(name+" dials in", func() bool { return r.there(name) })
	return m
}

// next waits for a build to begin at a worker.
func (m *machine) next() builder.Job {
	m.rig.t.Helper()
	select {
	case job := <-m.begun:
		return job
	case <-time.After(30 * time.Second):
		m.rig.t.Fatalf("%s builds nothing\n%s", m.Worker.cfg.Name, m.rig.log.String())
		return builder.Job{}
	}
}

// end waits until a worker has ended.
func (m *machine) end() error {
	m.rig.t.Helper()
	select {
	case err := <-m.ended:
		m.ended <- err
		return err
	case <-time.After(30 * time.Second):
		m.rig.t.Fatal("the worker does not end")
		return nil
	}
}

// cutter is a network that can be cut.
type cutter struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	off   bool
	conns map[net.Conn]bool
}

func newCutter(t *testing.T, to string) *cutter {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: listener, to: to, conns: make(map[net.Conn]bool)}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go c.join(in)
		}
	}()
	return c
}

func (c *cutter) addr() string { return c.listener.Addr().String() }

func (c *cutter) join(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer out.Close()
	c.mu.Lock()
	if c.off {
		c.mu.Unlock()
		return
	}
	c.conns[in] = true
	c.mu.Unlock()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	_, _ = io.Copy(in, out)
}

// cut ends all connections; off: there will be no others, until it is cut again.
func (c *cutter) cut(off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = make(map[net.Conn]bool)
}

// greet says a hello as a stranger would, past the worker's own code.
func (r *rig) greet(conn *nats.Conn, name string, slots int) {
	said := hello{Machine: Machine{Wire: Wire, Version: "v1", Instance: "x", Slots: slots, Toolchains: []string{r.native.Settings().Toolchain}}}
	if err := conn.Publish(fromWorker(name, everyService), encode(said)); err != nil {
		r.t.Error(err)
	}
}

// dialed registers a stranger, and connects it.
func (r *rig) dialed(name string) *nats.Conn {
	r.t.Helper()
	c, err := r.hub.Register(r.t.Context(), Registration{Name: name, Instance: "x", Wire: Wire})
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := r.dial(name, c.Password)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	return conn
}

// digest returns that of bytes.
func (r *rig) digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

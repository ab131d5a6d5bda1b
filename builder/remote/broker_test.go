package remote

import (
	"net/http/httptest"

	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

// What one credential does costs the others nothing.
func TestACredentialHasOneConnectionAndFewSubjects(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, err := r.hub.Register(t.Context(), Registration{Name: "w1", Instance: "x", Wire: Wire})
	if err != nil {
		t.Fatal(err)
	}
	var conns []*nats.Conn
	for range 20 {
		conn, err := r.dial("w1", c.Password)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	r.until("one is left", func() bool { return r.broker.server.NumClients() == 2 }) // and the service's own
	last := conns[19]
	if !last.IsConnected() {
		t.Fatal("the newest is ended")
	}
	for i := range 2 * maxSubjects {
		_, _ = last.SubscribeSync(fmt.Sprintf("%s.x.%d", inbox("w1"), i)) // it is told later
	}
	_ = last.Flush()
	if n := r.broker.server.NumSubscriptions(); n > 2*maxSubjects {
		t.Errorf("%d subscriptions", n)
	}
	refused, lines := r.hub.Refused(), strings.Count(r.log.String(), "it may not do that")
	for range 1000 {
		_ = last.Publish(toWorker("other"), nil)
	}
	_ = last.Flush()
	r.until("that is counted", func() bool { return r.hub.Refused() >= refused+1000 })
	if n := strings.Count(r.log.String(), "it may not do that") - lines; n != 1 {
		t.Errorf("%d lines of 1000 times the same", n)
	}
}

func TestAFloodOfHellosIsDroppedAndEndsInQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	honest := r.work("honest", 1, nil)
	conn := r.dialed("flood")
	said := encode(hello{Machine: Machine{Wire: Wire, Instance: "x"}})
	for conn.Publish(fromWorker("flood", everyService), said) == nil { // until it is cut off
	}
	r.until("it is quarantined", func() bool { return r.working("flood").State == string(Quarantined) })
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil || honest.builds.Load() != 1 {
		t.Error(err)
	}
}

// Who reports without end, be it of a job that it has, is cut off; builds of others go on.
func TestAFloodOfReportsEndsInQuarantine(t *testing.T) {
	for name, flood := range map[string]func(token string) report{
		"of a job that it has":       func(token string) report { return report{Token: token} },
		"of one that it has not":     func(string) report { return report{Token: "x"} },
		"of bytes that lead nowhere": func(token string) report { return report{Token: token, Offset: 1} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ended := make(chan struct{})
			end := sync.OnceFunc(func() { close(ended) }) // on a slow machine it gets the job twice
			r.stranger("flood", func(conn *nats.Conn, o order) {
				defer end()
				for message := append(encode(flood(o.Token)), '\n'); conn.PublishRequest(fromWorker("flood", o.Service), inbox("flood")+".x", message) == nil; {
				}
			})
			first := r.build(r.recipe("hello@v0.1.0"))
			r.until("it is quarantined", func() bool { return r.working("flood").State == string(Quarantined) })
			honest := r.work("honest", 1, nil)
			if err := errors.Join(r.wait(first), r.wait(r.build(r.recipe("hello@v0.1.1"))), r.wait(r.build(r.recipe("world@v0.1.0")))); err != nil || honest.builds.Load() != 3 {
				t.Error(honest.builds.Load(), err)
			}
			<-ended // it was cut off
			c, err := r.hub.Register(t.Context(), Registration{Name: "flood", Instance: "x", Wire: Wire})
			if err != nil {
				t.Fatal(err)
			}
			if conn, err := r.dial("flood", c.Password); err == nil {
				conn.Close()
				t.Error("it is let in again at once")
			}
		})
	}
}

// A binary that comes quickly takes more messages than there are looked at of what brings nothing further.
func TestALargeBinaryIsNoFlood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.work("w1", 1, nil, func(m *machine, _ *WorkerConfig) {
		build := m.engine
		m.engine = func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
			got, err := build(ctx, job, report, w)
			if err == nil {
				_, err = w.Write(make([]byte, 40<<20))
			}
			return got, err
		}
	})
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil || w.builds.Load() != 1 || r.hub.Refused() != 0 {
		t.Errorf("%v: %d builds, %d reports refused", err, w.builds.Load(), r.hub.Refused())
	}
}

// A worker that is to try again is not told that its credential is no good.
func TestWhatCannotBeToldNowIsNoRefusal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, err := r.hub.Register(t.Context(), Registration{Name: "w1", Instance: "x", Wire: Wire})
	if err != nil {
		t.Fatal(err)
	}
	want := func(when string, b *Broker, name, password string, want k6x.Kind) {
		t.Helper()
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.SetBasicAuth(name, password)
		if _, err := b.Worker(request); k6x.KindOf(err) != want || err == nil || want != k6x.Unauthorized && k6x.AsError(err).RetryAfter <= 0 {
			t.Errorf("%s, %s: %v of kind %s, want %s", when, name, err, k6x.KindOf(err), want)
		}
	}
	want("with a wrong password", r.broker, "w1", "x", k6x.Unauthorized)
	want("with any password", r.broker, "w2", "x", k6x.Unauthorized)
	r.broker.cutOff("w1")
	want("cut off", r.broker, "w1", c.Password, k6x.Busy)
	want("cut off, with a wrong password", r.broker, "w1", "x", k6x.Unauthorized)
	r.broker.conn.Close()
	want("without NATS", r.broker, "w1", "x", k6x.Unauthorized)
	want("without NATS", r.broker, "w2", "x", k6x.Unavailable)
	want("before the list is read", &Broker{}, "w1", c.Password, k6x.Unavailable)
}

// Who shows no credential gets no connection, which would take files of the service until NATS finds out.
func TestWhoShowsNoCredentialIsNotConnected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /base%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", ConnectPath)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || r.hub.Refused() != 1 {
		t.Errorf("%s, %d refused", resp.Status, r.hub.Refused())
	}
}

// What goes wrong with a connection is in the log of the service, and not printed by NATS.
func TestErrorsOfAConnectionAreLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	defer close(hold)
	sub, err := r.broker.conn.Subscribe("x", func(*nats.Msg) { <-hold })
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(1, 1<<10); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_ = r.broker.conn.Publish("x", nil)
	}
	r.until("it is logged", func() bool { return strings.Contains(r.log.String(), "slow consumer") })
}

func TestAURLThatIsNoneShowsNoPassword(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"nats://user:pass%zz@host:4222", "nats://user:pass word@host:x"} {
		if _, err := Dial([]string{server}, "", slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "pass") {
			t.Error(err)
		}
	}
}

// Credentials that are refused for a while do not end the connection of a service to NATS of the operator for good.
func TestAServiceWhoseLoginsAreRefusedComesAgain(t *testing.T) {
	t.Parallel()
	options := func(password string, port int) *server.Options {
		return &server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, Users: []*server.User{{Username: "service", Password: password}}}
	}
	broker, err := server.NewServer(options("s", server.RANDOM_PORT))
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(broker.Shutdown)
	if !broker.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	log := new(logText)
	b, err := Dial([]string{strings.Replace(broker.ClientURL(), "nats://", "nats://service:s@", 1)}, "", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.conn.Opts.PingInterval > 2*Pace(0).hello() {
		t.Errorf("a silent cut is found after %s", b.conn.Opts.PingInterval)
	}
	refused := func() int { return strings.Count(log.String(), "uthorization") }
	port := broker.Addr().(*net.TCPAddr).Port
	if err := broker.ReloadOptions(options("other", port)); err != nil {
		t.Fatal(err)
	}
	until := func(what string, holds func() bool) {
		t.Helper()
		for range 450 {
			if holds() {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("%s: it did not come to that\n%s", what, log)
	}
	until("it is refused three times", func() bool { return refused() >= 3 })
	if err := broker.ReloadOptions(options("s", port)); err != nil {
		t.Fatal(err)
	}
	until("it is connected", b.conn.IsConnected)
}

func TestAQuarantinedWorkerReadsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, err := r.hub.Register(t.Context(), Registration{Name: "w1", Instance: "x", Wire: Wire})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, CachePath, nil)
	request.SetBasicAuth("w1", c.Password)
	if name, err := r.broker.Reader(request); name != "w1" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	r.hub.quarantine("it lies", "w1")
	if _, err := r.broker.Reader(request); k6x.KindOf(err) != k6x.Forbidden {
		t.Errorf("%v", err)
	}
}

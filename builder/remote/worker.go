package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
)

// RegisterPath is where a worker gets its credential, below the URL of the service.
const RegisterPath = "/worker/register"

// WorkerConfig says what a [Worker] is.
type WorkerConfig struct {
	URL         *url.URL     // of the service
	Token       string       // of workers
	HTTP        *http.Client // nil: the default one
	Credentials string       // file, for the NATS of an operator; "": there is none
	Name        string
	Machine     Machine // without Instance
	Engine      builder.Engine
	MakeTemp    func() (dir string, err error)
	Remove      func(dir string)
	Logger      *slog.Logger
	Pace        Pace
}

// Worker builds for services that it dials.
type Worker struct {
	cfg    WorkerConfig
	putter *http.Client // of binaries, into the bucket
	jobs   sync.WaitGroup

	sending sync.Mutex // held while bytes of a binary are under way: those of several builds would make each other late

	mu       sync.Mutex // guards what follows
	conn     *nats.Conn // nil: there was none yet
	password string     // of its credential; "": there was none yet
	working  map[string]*work
	draining bool
	unable   time.Time // until when binaries are not put into the bucket
	said     string    // by a service, for the log
}

// NewWorker returns a worker.
func NewWorker(cfg WorkerConfig) (*Worker, error) {
	if !names.MatchString(cfg.Name) {
		return nil, k6x.Errorf(k6x.Invalid, "a worker has a name of letters, digits, _ and -, which %q is not", k6x.Clip(cfg.Name))
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 30 * time.Second}
	}
	cfg.Machine.Wire, cfg.Machine.Instance = cmp.Or(cfg.Machine.Wire, Wire), rand.Text()
	return &Worker{cfg: cfg, putter: newPutter(), working: make(map[string]*work)}, nil
}

// Run works until drain is closed and the jobs of that time have ended. If ctx ends before, the jobs are given back. The error is that
// the service lets this worker in no more.
func (w *Worker) Run(ctx context.Context, drain <-chan struct{}) error {
	jobs, giveBack := context.WithCancelCause(context.WithoutCancel(ctx))
	defer func() {
		w.drain()
		giveBack(errGivenBack)
		w.jobs.Wait()
		w.hello(true)
		if w.conn != nil {
			_ = w.conn.FlushTimeout(w.cfg.Pace.answer())
			w.conn.Close()
		}
	}()
	for {
		closed, err := w.connect(ctx, jobs, drain)
		if err != nil || closed == nil {
			return err
		}
		if w.serve(ctx, drain, closed) {
			return nil
		}
		w.cfg.Logger.Warn("the connection was ended by the service; there will be another one")
	}
}

var errGivenBack = errors.New("the worker stops")

// serve says every few seconds how it is here, until the connection has ended. It reports whether all is over.
func (w *Worker) serve(ctx context.Context, drain, closed <-chan struct{}) (over bool) {
	tick := time.NewTicker(w.cfg.Pace.hello() / 4)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%4 == 0 {
			w.hello(false)
		}
		select {
		case <-ctx.Done():
			return true
		case <-drain:
			w.cfg.Logger.Info("the worker takes nothing more, and ends with its last build")
			drain = nil
			w.drain()
			w.hello(false)
		case <-closed:
			return false
		case <-tick.C:
		}
		if w.over() {
			return true
		}
	}
}

// over reports whether it has ended with its last build.
func (w *Worker) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining && len(w.working) == 0
}

// drain has it take nothing more.
func (w *Worker) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
}

// hello tells the services how it is here.
func (w *Worker) hello(last bool) {
	w.mu.Lock()
	conn, said := w.conn, hello{Machine: w.cfg.Machine, Draining: w.draining, Left: last, Running: []running{}}
	for key, j := range w.working {
		said.Running = append(said.Running, j.running(key))
	}
	slices.SortFunc(said.Running, func(a, b running) int { return cmp.Compare(a.Key, b.Key) }) // the same says the same
	w.mu.Unlock()
	if conn != nil {
		_ = conn.Publish(fromWorker(w.cfg.Name, everyService), encode(said)) // without a connection it is not heard
	}
}

// connect gets a credential and dials, as often as it takes. Closed is nil if it is to end before.
func (w *Worker) connect(ctx, jobs context.Context, drain <-chan struct{}) (closed <-chan struct{}, err error) {
	for {
		credential, err := w.register(ctx)
		if err == nil {
			closed, err = w.dial(credential, jobs)
		}
		if err == nil {
			w.told(credential.Message)
			w.cfg.Logger.Info("connected", "service", w.cfg.URL.Redacted(), "worker", w.cfg.Name)
			return closed, nil
		}
		switch k6x.KindOf(err) {
		case k6x.Invalid, k6x.Unauthorized, k6x.Forbidden, k6x.NotFound:
			return nil, err
		}
		why := "the service cannot be reached yet"
		if k6x.KindOf(err) == k6x.Conflict {
			why = "the service has a worker of this name, and lets this one in once that is gone: give each a name of its own, with --name"
		}
		w.cfg.Logger.Warn(why, "service", w.cfg.URL.Redacted(), "error", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-drain: // it may have builds, from before
			drain = nil
			w.drain()
		case <-time.After(w.cfg.Pace.hello()):
		}
		if w.over() {
			return nil, nil
		}
	}
}

// register exchanges the token for a credential of this worker.
func (w *Worker) register(ctx context.Context) (c Credential, err error) {
	body := encode(Registration{Name: w.cfg.Name, Instance: w.cfg.Machine.Instance, Wire: w.cfg.Machine.Wire})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL.JoinPath(RegisterPath).String(), bytes.NewReader(body))
	if err != nil {
		return c, k6x.Errorf(k6x.Invalid, "%w", err)
	}
	req.Header.Set("Authorization", "Bearer "+w.cfg.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/problem+json")
	resp, err := w.cfg.HTTP.Do(req)
	if err != nil {
		return c, k6x.Errorf(k6x.Unavailable, "%w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return c, k6x.Errorf(k6x.Unavailable, "%w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var problem struct {
			Kind   k6x.Kind `json:"kind"`
			Detail string   `json:"detail"`
		}
		if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
			problem.Kind, problem.Detail = k6x.Unavailable, "it answered "+resp.Status
		}
		err := k6x.Errorf(problem.Kind, "the service refuses this worker: %s", k6x.ClipTo(problem.Detail, 1000))
		if problem.Kind == k6x.Unauthorized {
			err = err.WithHint("Name a file with a token of the service's --worker-token-file with --token-file, or have the token in K6X_WORKER_TOKEN.")
		}
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, k6x.Errorf(k6x.Unavailable, "the service sent no credential").WithCause(err)
	}
	return c, nil
}

// Do makes a request to the service with the credential of this worker.
func (w *Worker) Do(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	r.SetBasicAuth(w.cfg.Name, w.password)
	w.mu.Unlock()
	return w.cfg.HTTP.Do(r)
}

// dial connects, and takes orders from then on.
func (w *Worker) dial(c Credential, jobs context.Context) (<-chan struct{}, error) {
	closed := make(chan struct{})
	options := append(lasting(w.cfg.Pace, w.cfg.Logger), nats.Name("k6x worker "+w.cfg.Name), nats.CustomInboxPrefix(inbox(w.cfg.Name)), nats.ReconnectBufSize(-1),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }), nats.ReconnectHandler(func(*nats.Conn) { w.hello(false) }))
	servers := strings.Join(c.Servers, ",")
	if len(c.Servers) == 0 {
		to := *w.cfg.URL
		to.Scheme = strings.Replace(to.Scheme, "http", "ws", 1)
		servers = to.Scheme + "://" + to.Host
		options = append(options, nats.ProxyPath(to.JoinPath(ConnectPath).EscapedPath()), nats.UserInfo(w.cfg.Name, c.Password), nats.IgnoreDiscoveredServers(),
			nats.WebSocketConnectionHeaders(basic(w.cfg.Name, c.Password)), nats.ReconnectErrHandler(func(conn *nats.Conn, err error) {
				if _, ok := errors.AsType[net.Error](err); !ok { // the service answers, and refuses: it is to be asked for another credential
					conn.Close()
				}
			}))
	} else if w.cfg.Credentials != "" {
		options = append(options, nats.UserCredentials(w.cfg.Credentials))
	}
	conn, err := nats.Connect(servers, options...)
	if err != nil {
		return nil, k6x.Errorf(k6x.Unavailable, "%w", err)
	}
	w.mu.Lock()
	w.conn, w.password = conn, c.Password
	w.mu.Unlock()
	_, err = conn.Subscribe(toWorker(w.cfg.Name), func(m *nats.Msg) { w.ordered(jobs, m) })
	if err == nil {
		err = conn.FlushTimeout(w.cfg.Pace.answer())
	}
	if err != nil {
		conn.Close()
		return nil, k6x.Errorf(k6x.Unavailable, "%w", err)
	}
	return closed, nil
}

// basic returns the header that shows a credential to HTTP, too.
func basic(name, password string) http.Header {
	r := http.Request{Header: make(http.Header)}
	r.SetBasicAuth(name, password)
	return r.Header
}

// ordered takes an order of a service.
func (w *Worker) ordered(ctx context.Context, m *nats.Msg) {
	var o order
	if err := json.Unmarshal(m.Data, &o); err != nil || o.Job == nil && !o.Stop && o.Message == "" {
		w.cfg.Logger.Warn("an order of the service makes no sense", "error", err)
		return
	}
	if o.Message != "" {
		w.told(o.Message)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.Stop {
		for _, j := range w.working {
			j.stop(o.Token)
		}
		return
	}
	key := o.Job.Recipe.Key()
	if j := w.working[key]; j != nil && j.has(o.Token) { // the order came twice
		return
	}
	if j := w.working[key]; j != nil && !o.Job.Rebuild && j.adopt(o) {
		w.cfg.Logger.Info("a build goes on for another service", "path", o.Job.Recipe.Path())
		return
	}
	if w.working[key] != nil || w.draining || len(w.working) >= w.cfg.Machine.Slots || ctx.Err() != nil {
		go w.refuse(o)
		return
	}
	j := newWork(w, o)
	w.working[key] = j
	w.jobs.Go(func() {
		j.run(ctx, o)
		w.mu.Lock()
		delete(w.working, key)
		w.mu.Unlock()
		if ctx.Err() == nil { // else all of them end now, and one hello says so
			w.hello(false)
		}
	})
}

// told logs what a service says, unless that is what was said last; "" is nothing.
func (w *Worker) told(message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if message != "" && message != w.said {
		w.said = message
		w.cfg.Logger.Warn("what the service says: " + k6x.Clip(message))
	}
}

// refuse gives a job back.
func (w *Worker) refuse(o order) { _, _ = w.post(o.Service, report{Token: o.Token, Back: true}, nil) }

// post sends a report with bytes, and returns the answer.
func (w *Worker) post(service string, r report, data []byte) (a answer, err error) {
	if len(data) > 0 {
		w.sending.Lock()
		defer w.sending.Unlock()
	}
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	m, err := conn.Request(fromWorker(w.cfg.Name, service), bytes.Join([][]byte{encode(r), data}, []byte("\n")), w.cfg.Pace.answer())
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(m.Data, &a); err != nil || a.Next < 0 {
		return a, fmt.Errorf("an answer of the service makes no sense: %w", err)
	}
	return a, nil
}

package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

func TestWorkersBuildOnceWhatManyAskFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	workers := []*machine{r.work("w1", 1, nil), r.work("w2", 1, nil)}
	var all []<-chan error
	for range 10 {
		for _, extension := range []string{"hello@v0.1.0", "hello@v0.1.1", "world@v0.1.0"} {
			all = append(all, r.build(r.recipe(extension)))
		}
	}
	for _, done := range all {
		if err := r.wait(done); err != nil {
			t.Error(err)
		}
	}
	if n := workers[0].builds.Load() + workers[1].builds.Load(); n != 3 {
		t.Errorf("%d builds of 3", n)
	}
	for _, e := range r.of(event.Started) {
		if !strings.HasPrefix(e.Worker, "w") {
			t.Errorf("%+v", e)
		}
	}
	if output := r.of(event.Output); len(output) != 3 || !strings.HasPrefix(output[0].Output, "said by w") {
		t.Errorf("what is said there: %+v", output)
	}
	if progress := r.of(event.Progress); len(progress) < 3 || progress[0].Step != event.Linking {
		t.Errorf("how far it is: %+v", progress)
	}
	if w := r.working("w1"); w.Built == 0 || w.Failed != 0 || w.CPUs != 2 || w.Build != "" {
		t.Errorf("%+v", w)
	}
	if n := r.hub.Refused(); n != 0 {
		t.Errorf("%d things were refused\n%s", n, r.log.String())
	}
}

func TestAWorkerThatDiesLosesItsJobToAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.work("w1", 1, make(chan struct{}))
	done := r.build(r.recipe("hello@v0.1.0"))
	first.next()
	second := r.work("w2", 1, nil)
	first.wire.cut(true)
	if err := r.wait(done); err != nil || second.builds.Load() != 1 {
		t.Error(err, second.builds.Load())
	}
}

func TestAWorkerThatDiesAsItDelivers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.work("w1", 1, nil, func(m *machine, cfg *WorkerConfig) {
		build := m.engine
		m.engine = func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
			got, err := build(ctx, job, report, w)
			got.Lock.GoMod += strings.Repeat("\n", chunk) // which makes it long
			m.wire.cut(true)
			return got, err
		}
	})
	done := r.build(r.recipe("hello@v0.1.0"))
	first.next()
	second := r.work("w2", 1, nil)
	if err := r.wait(done); err != nil || second.builds.Load() != 1 {
		t.Error(err, second.builds.Load())
	}
}

func TestAJobThatTakesThreeWorkersWithItFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	deadly := func(m *machine, _ *WorkerConfig) {
		m.engine = func(ctx context.Context, _ builder.Job, _ event.Sink, _ io.Writer) (k6x.Build, error) {
			m.wire.cut(true)
			<-ctx.Done()
			return k6x.Build{}, ctx.Err()
		}
	}
	for _, name := range []string{"w1", "w2", "w3", "w4"} {
		r.work(name, 1, nil, deadly)
	}
	err := r.wait(r.build(r.recipe("hello@v0.1.0")))
	if k6x.KindOf(err) != k6x.BuildFailed || !strings.Contains(err.Error(), "3 workers were lost one after the other") {
		t.Error(err)
	}
}

func TestANetworkThatIsCutForAMomentCostsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	w := r.work("w1", 1, hold)
	done := r.build(r.recipe("hello@v0.1.0"))
	w.next()
	r.until("something was said", func() bool { return len(r.of(event.Output)) > 0 })
	w.wire.cut(false)
	close(hold)
	if err := r.wait(done); err != nil || w.builds.Load() != 1 {
		t.Error(err, w.builds.Load())
	}
}

func TestAWorkerDrains(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	first := r.work("w1", 2, hold)
	done := r.build(r.recipe("hello@v0.1.0"))
	first.next()
	close(first.drain)
	r.until("w1 drains", func() bool { return r.working("w1").State == string(Drained) })
	next := r.build(r.recipe("hello@v0.1.1"))
	second := r.work("w2", 1, nil)
	second.next()
	if err := r.wait(next); err != nil {
		t.Error(err)
	}
	close(hold)
	if err := errors.Join(r.wait(done), first.end()); err != nil || first.builds.Load() != 1 {
		t.Error(err, first.builds.Load())
	}
	r.until("w1 is gone", func() bool { return !r.there("w1") })
}

func TestASecondSignalGivesJobsBackWhichIsNoDeath(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	done := r.build(r.recipe("hello@v0.1.0"))
	for range 4 {
		w := r.work("w1", 1, make(chan struct{}))
		w.next()
		w.kill()
		if err := w.end(); err != nil {
			t.Error(err)
		}
	}
	r.work("w2", 1, nil)
	if err := r.wait(done); err != nil {
		t.Error(err)
	}
}

func TestAnOperatorDrainsAndRevokes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	first := r.work("w1", 2, hold)
	done := r.build(r.recipe("hello@v0.1.0"))
	first.next()
	ctx := t.Context()
	if err := r.hub.Change(ctx, "w1", "drain"); err != nil {
		t.Fatal(err)
	}
	next := r.build(r.recipe("hello@v0.1.1"))
	time.Sleep(3 * testPace.hello())
	if n := first.builds.Load(); n != 1 {
		t.Errorf("%d builds at a drained worker", n)
	}
	if err := r.hub.Change(ctx, "w1", "admit"); err != nil {
		t.Fatal(err)
	}
	first.next()
	if err := r.hub.Change(ctx, "w1", "revoke"); err != nil {
		t.Fatal(err)
	}
	second := r.work("w2", 2, nil)
	if err := errors.Join(r.wait(done), r.wait(next)); err != nil || second.builds.Load() != 2 {
		t.Error(err, second.builds.Load())
	}
	if err := first.end(); k6x.KindOf(err) != k6x.Forbidden || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
	if err := r.hub.Change(ctx, "nobody", "drain"); k6x.KindOf(err) != k6x.NotFound {
		t.Error(err)
	}
	if err := r.hub.Change(ctx, "w2", "burn"); k6x.KindOf(err) != k6x.NotFound {
		t.Error(err)
	}
}

func TestOneNameIsOneWorkers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.work("w1", 1, nil)
	for _, c := range []struct {
		registration Registration
		kind         k6x.Kind
	}{
		{Registration{Name: "w1", Instance: "other"}, k6x.Conflict},
		{Registration{Name: "w.1", Instance: "x"}, k6x.Invalid},
		{Registration{Name: "*", Instance: "x"}, k6x.Invalid},
		{Registration{Name: "", Instance: "x"}, k6x.Invalid},
	} {
		if _, err := r.hub.Register(t.Context(), c.registration); k6x.KindOf(err) != c.kind {
			t.Errorf("%+v: %v", c.registration, err)
		}
	}
	if c, err := r.hub.Register(t.Context(), Registration{Name: "w2", Instance: "x", Wire: Wire + 1}); err != nil || !strings.Contains(c.Message, "gets no work") {
		t.Error(c, err)
	}
	other, err := NewWorker(WorkerConfig{URL: r.url(), Name: "w1", Logger: r.logger().With("at", "other"), Pace: testPace})
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- other.Run(t.Context(), stop) }()
	r.until("the other one is told what to do", func() bool { return strings.Contains(r.log.String(), "with --name\" at=other") })
	close(stop)
	if err := <-ended; err != nil || strings.Contains(r.log.String(), "cannot be reached") {
		t.Error(err)
	}
}

// dial connects as a stranger would, past the worker's own code.
func (r *rig) dial(name, password string) (*nats.Conn, error) {
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	options := []nats.Option{nats.ProxyPath("/base" + ConnectPath), nats.UserInfo(name, password), nats.NoReconnect(), quiet, nats.WebSocketConnectionHeaders(basic(name, password))}
	if name != ownName {
		options = append(options, nats.CustomInboxPrefix(inbox(name)))
	}
	return nats.Connect("ws://"+r.addr, options...)
}

func TestNobodyTakesOrReportsTheWorkOfAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	victim := r.work("w1", 1, hold)
	done := r.build(r.recipe("hello@v0.1.0"))
	victim.next()
	if _, err := r.dial("w1", "guessed"); err == nil {
		t.Error("a credential that is not known is let in")
	}
	if _, err := r.dial(ownName, "guessed"); err == nil {
		t.Error("the service's own name is let in")
	}
	refused := r.hub.Refused()
	if refused < 2 || !strings.Contains(r.log.String(), "its credential is not known") {
		t.Errorf("%d were counted", refused)
	}
	c, err := r.hub.Register(t.Context(), Registration{Name: "w2", Instance: "x", Wire: Wire})
	if err != nil {
		t.Fatal(err)
	}
	thief, err := r.dial("w2", c.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	for _, subject := range []string{toWorker("w1"), "k6x.>", ">", "_INBOX.>", inbox("w1") + ".>", "$JS.>"} {
		if sub, err := thief.SubscribeSync(subject); err == nil {
			if _, err := sub.NextMsg(300 * time.Millisecond); err == nil {
				t.Errorf("%s is heard", subject)
			}
		}
	}
	for _, subject := range []string{fromWorker("w1", everyService), fromWorker("w1", r.hub.id), toWorker("w1"), "$JS.API.INFO", "$KV." + rosterBucket + ".w2"} {
		if _, err := thief.Request(subject, []byte("{}"), 300*time.Millisecond); err == nil {
			t.Errorf("%s is answered", subject)
		}
	}
	r.until("that is counted", func() bool { return r.hub.Refused() >= refused+11 })
	refused = r.hub.Refused()
	r.hub.mu.Lock()
	var token string
	for token = range r.hub.tasks {
	}
	r.hub.mu.Unlock()
	for _, guess := range []string{token, "guessed"} {
		m, err := thief.Request(fromWorker("w2", r.hub.id), encode(report{Token: guess, Outcome: &outcome{Failure: &k6x.Error{Message: "no"}}}), 5*time.Second)
		if err != nil || !strings.Contains(string(m.Data), `"stop":true`) {
			t.Error(m, err)
		}
	}
	// An answer is not sent where another worker would take it for an order.
	if err := thief.PublishRequest(fromWorker("w2", r.hub.id), toWorker("w1"), encode(report{Token: token})); err != nil {
		t.Error(err)
	}
	r.until("that is counted", func() bool { return r.hub.Refused() == refused+3 })
	if !strings.Contains(r.log.String(), "it reports a job that it does not have") {
		t.Error("it is not in the log")
	}
	if err := r.hub.Change(t.Context(), "w2", "revoke"); err != nil {
		t.Fatal(err)
	}
	r.until("it is disconnected", thief.IsClosed)
	refused = r.hub.Refused()
	if conn, err := r.dial("w2", c.Password); err == nil {
		conn.Close()
		t.Error("a credential that was taken back is let in")
	}
	if r.hub.Refused() != refused+1 || !strings.Contains(r.log.String(), "its credential is not known, or was taken back\" worker=w2") {
		t.Error("that is not counted, or not in the log")
	}
	close(hold)
	if err := r.wait(done); err != nil || victim.builds.Load() != 1 {
		t.Error(err)
	}
}

func TestAWorkerThatDeliversSomethingElseIsQuarantined(t *testing.T) {
	for name, c := range map[string]struct {
		lie    func(r *rig, got *made)
		reason string
	}{
		"bytes of no program": {func(_ *rig, got *made) { got.binary = []byte(strings.Repeat("no program", 100)) }, "it says nothing about itself"},
		"fewer bytes":         {func(_ *rig, got *made) { got.binary = got.binary[:1000] }, "it says nothing about itself"},
		"nothing":             {func(_ *rig, got *made) { got.binary = nil }, "it says nothing about itself"},
		"the file of another": {func(r *rig, got *made) { *got = r.make(r.recipe("world@v0.1.0")) }, "is not in it"},
		"another version":     {func(r *rig, got *made) { *got = r.make(r.recipe("hello@v0.1.1")) }, "hello"},
		"a lock with more": {func(_ *rig, got *made) {
			got.build.Lock.GoMod += "\nreplace go.k6.io/k6 => ../evil\n"
		}, "more than versions"},
		"a version that nobody asks for": {func(_ *rig, got *made) {
			got.build.Lock.GoMod += "\nrequire example.com/greeting v1.1.0\n"
		}, "no go.mod"},
		"sums of others": {func(_ *rig, got *made) {
			got.build.Lock.GoSum = strings.ReplaceAll(got.build.Lock.GoSum, "h1:", "h1:A")
		}, "go.sum has no line for"},
		"no lock":        {func(_ *rig, got *made) { got.build.Lock = k6x.Lock{} }, "more than versions"},
		"too many bytes": {func(_ *rig, got *made) { got.binary = make([]byte, 20<<20) }, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(r *rig) { r.most = 16 << 20 })
			liar := r.work("liar", 1, nil, func(m *machine, _ *WorkerConfig) {
				m.engine = func(_ context.Context, job builder.Job, _ event.Sink, w io.Writer) (k6x.Build, error) {
					m.begun <- job
					got := r.make(job.Recipe)
					c.lie(r, &got)
					_, err := w.Write(got.binary)
					return got.build, err
				}
			})
			done := r.build(r.recipe("hello@v0.1.0"))
			liar.next()
			honest := r.work("honest", 1, nil)
			if err := r.wait(done); err != nil || honest.builds.Load() != 1 {
				t.Error(err, honest.builds.Load())
			}
			if w := r.working("liar"); w.State != string(Quarantined) || !strings.Contains(w.Reason, c.reason) {
				t.Errorf("%s: %s", w.State, w.Reason)
			}
		})
	}
}

func TestAFailureAtAWorkerIsThatOfTheBuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.work("w1", 1, nil, func(m *machine, _ *WorkerConfig) {
		m.engine = func(context.Context, builder.Job, event.Sink, io.Writer) (k6x.Build, error) {
			return k6x.Build{}, &k6x.Error{Kind: k6x.BuildFailed, Message: "k6/x/hello does not\x1b[31m compile", Output: "x.go:1:1: no\n"}
		}
	})
	err := r.wait(r.build(r.recipe("hello@v0.1.0")))
	if e := k6x.AsError(err); e.Kind != k6x.BuildFailed || e.Message != "k6/x/hello does not[31m compile" || e.Output != "x.go:1:1: no\n" {
		t.Errorf("%+v", e)
	}
	if w := r.working("w1"); w.Failed != 1 || w.State != "idle" {
		t.Errorf("%+v", w)
	}
}

func TestABuildEndsWithItsLastWaiter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.work("w1", 1, make(chan struct{}))
	ctx, leave := context.WithCancel(t.Context())
	go func() { _, _ = r.dedup.Build(ctx, builder.Job{Recipe: r.recipe("hello@v0.1.0")}) }()
	w.next()
	leave()
	r.until("it is canceled", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.Worker.working) == 0
	})
	if n := r.limit.Stats().Running; n != 0 {
		t.Errorf("%d run", n)
	}
}

func TestAServiceThatRestartsFindsTheBuildsThatGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	w := r.work("w1", 1, hold)
	done := r.build(r.recipe("hello@v0.1.0"))
	w.next()
	r.until("something was said", func() bool { return len(r.of(event.Output)) > 0 })
	r.stop()
	if err := r.wait(done); k6x.KindOf(err) != k6x.Busy {
		t.Error(err)
	}
	r.start()
	done = r.build(r.recipe("hello@v0.1.0"))
	r.until("it is found", func() bool { return r.working("w1").Build != "" })
	r.until("what was said is told again", func() bool { return len(r.of(event.Output)) > 1 })
	close(hold)
	if err := r.wait(done); err != nil || w.builds.Load() != 1 {
		t.Errorf("%v, %d builds", err, w.builds.Load())
	}
}

// stranger starts a worker that is no more than its messages: it does with each order what a test wants.
func (r *rig) stranger(name string, does func(conn *nats.Conn, o order)) {
	r.t.Helper()
	conn := r.dialed(name)
	if _, err := conn.Subscribe(toWorker(name), func(m *nats.Msg) {
		var o order
		if err := json.Unmarshal(m.Data, &o); err == nil && !o.Stop {
			does(conn, o)
		}
	}); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		hi := hello{Machine: Machine{Wire: Wire, Instance: "x", Toolchains: []string{r.native.Settings().Toolchain}, Slots: 1}}
		for conn.Publish(fromWorker(name, everyService), encode(hi)) == nil {
			time.Sleep(testPace.hello())
		}
	}()
	r.until("it is there", func() bool { return r.there(name) })
}

// raw starts a stranger that answers each job with a report.
func (r *rig) raw(name string, does func(o order) (report, []byte)) {
	r.t.Helper()
	r.stranger(name, func(conn *nats.Conn, o order) {
		said, data := does(o)
		said.Token = o.Token
		_ = conn.PublishRequest(fromWorker(name, o.Service), conn.NewInbox(), bytes.Join([][]byte{encode(said), data}, []byte("\n")))
	})
}

func TestAWorkerThatStallsLosesItsJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.raw("stalls", func(order) (report, []byte) { return report{}, nil }) // it takes the job, and that is all
	done := r.build(r.recipe("hello@v0.1.0"))
	r.until("it has the job", func() bool { return r.working("stalls").Build != "" })
	second := r.work("w2", 2, nil)
	if err := r.wait(done); err != nil || second.builds.Load() != 1 {
		t.Error(err, second.builds.Load())
	}
	if w := r.working("stalls"); w.State != "idle" {
		t.Errorf("%+v", w)
	}
}

func TestAWorkerThatSaysWhatItDidNotSendIsQuarantined(t *testing.T) {
	for name, lie := range map[string]func(r *rig) (report, []byte){
		"fewer bytes": func(*rig) (report, []byte) {
			return report{Outcome: &outcome{Size: 4, Digest: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}, []byte("abc")
		},
		"another digest": func(*rig) (report, []byte) {
			return report{Outcome: &outcome{Size: 3, Digest: "00"}}, []byte("abc")
		},
		"nothing that can be read": func(*rig) (report, []byte) {
			return report{Events: []event.Event{{Type: event.Progress, Step: 99}}}, nil
		},
		"too many bytes": func(r *rig) (report, []byte) { return report{}, make([]byte, r.most+1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(r *rig) { r.most = 128 << 10 })
			r.raw("liar", func(order) (report, []byte) { return lie(r) })
			done := r.build(r.recipe("hello@v0.1.0"))
			r.until("it is quarantined", func() bool { return r.working("liar").State == string(Quarantined) })
			if err := r.hub.Change(t.Context(), "liar", "admit"); err != nil || r.working("liar").State == string(Quarantined) {
				t.Error(err)
			}
			_ = done // nobody is left who builds it
		})
	}
}

func TestWhoFitsGetsTheJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	toolchain := func(m *machine, cfg *WorkerConfig) { cfg.Machine.Toolchains = []string{"go1.20"} }
	other := r.work("w1", 4, nil, toolchain)
	future := r.work("w2", 4, nil, func(m *machine, cfg *WorkerConfig) { cfg.Machine.Wire = Wire + 1 })
	done := r.build(r.recipe("hello@v0.1.0"))
	time.Sleep(2 * testPace.hello())
	if all, free := r.hub.Count(); all != 4 || free != 4 {
		t.Errorf("%d of %d slots are free", free, all)
	}
	if w := r.working("w1"); w.State != "idle" || !strings.Contains(w.Reason, "nothing new to do") {
		t.Errorf("%+v", w)
	}
	for name, says := range map[string]string{"w1": "nothing new to do", "w2": "speaks format 2"} { // in its own log, once
		line := regexp.MustCompile(`what the service says: [^\n]*` + says + `[^\n]* at=` + name)
		r.until(name+" is told", func() bool { return len(line.FindAllString(r.log.String(), -1)) == 1 })
	}
	if w := r.working("w2"); w.State != string(Drained) || !strings.Contains(w.Reason, "speaks format 2") {
		t.Errorf("%+v", w)
	}
	fits := r.work("w3", 1, nil, func(m *machine, cfg *WorkerConfig) { cfg.Machine.Toolchains, cfg.Machine.Fetches = nil, true })
	if err := r.wait(done); err != nil || fits.builds.Load() != 1 || other.builds.Load()+future.builds.Load() != 0 {
		t.Error(err)
	}
	err := r.wait(r.build(func() k6x.Recipe {
		recipe := r.recipe("hello@v0.1.1")
		recipe.Cgo = true
		return recipe
	}()))
	if k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), "no worker that builds with") {
		t.Error(err)
	}
}

func TestTheServiceBuildsWhatWorkersDoNot(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig) { r.slots = 1 })
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil {
		t.Fatal(err)
	}
	if started := r.of(event.Started); len(started) != 1 || started[0].Worker != "" {
		t.Errorf("%+v", started)
	}
}

// Services that share a NATS share its workers, and what is decided about them.
func TestServicesShareWorkersByANATSOfTheOperator(t *testing.T) {
	t.Parallel()
	as := startNATS(t, "w1")
	one, two := newRig(t, func(r *rig) { r.nats = as }), newRig(t, func(r *rig) { r.nats = as })
	hold := make(chan struct{})
	w := one.work("w1", 1, hold)
	two.until("the other service knows it, too", func() bool { return two.there("w1") })
	first := one.build(one.recipe("hello@v0.1.0"))
	w.next()
	two.until("it is busy", func() bool { _, free := two.hub.Count(); return free == 0 })
	second := two.build(two.recipe("hello@v0.1.1"))
	close(hold)
	if err := errors.Join(one.wait(first), two.wait(second)); err != nil || w.builds.Load() != 2 {
		t.Error(err, w.builds.Load())
	}
	if err := two.hub.Change(t.Context(), "w1", "drain"); err != nil {
		t.Fatal(err)
	}
	one.until("it is drained for both", func() bool { return one.working("w1").State == string(Drained) })
}

func TestAWorkerThatIsLongGoneIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"w1", "w2"} {
		if _, err := r.hub.Register(t.Context(), Registration{Name: name, Instance: "x", Wire: Wire}); err != nil {
			t.Fatal(err)
		}
	}
	w := r.work("w3", 1, nil)
	w1 := r.hub.roster.of("w1")
	w1.Registered = time.Now().Add(-2 * goneTime)
	r.hub.roster.note("w1", w1)
	if err := r.hub.Change(t.Context(), "w2", "revoke"); err != nil {
		t.Fatal(err)
	}
	r.hub.mu.Lock()
	r.hub.started = r.hub.started.Add(-2 * goneTime)
	r.hub.mu.Unlock()
	r.until("w1 is forgotten", func() bool { return r.working("w1").Name == "" })
	if r.working("w2").State != string(Revoked) || !r.there("w3") {
		t.Errorf("%+v", r.hub.Pool())
	}
	if err := r.hub.Change(t.Context(), "w1", "drain"); k6x.KindOf(err) != k6x.NotFound {
		t.Error(err)
	}
	if _, err := r.hub.Register(t.Context(), Registration{Name: "w1", Instance: "y", Wire: Wire}); err != nil {
		t.Errorf("it comes again: %v", err)
	}
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil || w.builds.Load() != 1 {
		t.Error(err)
	}
}

// A binary that says all the right things of itself, and is another one, is found by making it again.
func TestWhatIsBuiltAgainFindsOtherBytes(t *testing.T) {
	for name, c := range map[string]struct {
		slots int // of the service
		lies  bool
		want  Standing // of the honest worker
	}{
		"two workers":           {0, true, Quarantined},
		"a worker and this one": {1, true, Active},
		"the same bytes":        {0, false, Active},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(r *rig) { r.verify, r.slots = 1, c.slots })
			r.work("first", 1, nil, func(m *machine, _ *WorkerConfig) {
				m.engine = func(_ context.Context, job builder.Job, _ event.Sink, w io.Writer) (k6x.Build, error) {
					got := r.make(job.Recipe)
					_, err := w.Write(got.binary)
					if err == nil && c.lies {
						_, err = w.Write([]byte("evil"))
					}
					return got.build, err
				}
			})
			done := r.build(r.recipe("hello@v0.1.0"))
			if err := r.wait(done); err != nil {
				t.Fatal(err)
			}
			if c.slots == 0 {
				r.work("second", 1, nil)
			}
			if !c.lies {
				r.until("it is built again", func() bool { return r.working("second").Built == 1 && r.limit.Stats().Running == 0 })
			}
			for worker, want := range map[string]Standing{"first": map[bool]Standing{true: Quarantined, false: Active}[c.lies], "second": c.want} {
				if worker == "second" && c.slots > 0 {
					continue
				}
				r.until(worker+" is "+string(want), func() bool { return (r.working(worker).State == string(Quarantined)) == (want == Quarantined) })
			}
		})
	}
}

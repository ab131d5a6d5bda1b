package remote

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"k6x"
	"k6x/builder"
)

func TestOnlyAHelloThatSaysSomethingNewHasTheQueueAskedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var wakes atomic.Int32
	r.hub.Start(func() { wakes.Add(1) })
	conn := r.dialed("w1")
	hello := func(slots int) {
		seen := r.working("w1").Seen
		r.greet(conn, "w1", slots)
		r.until("it is heard", func() bool { return r.working("w1").Seen.After(seen) })
	}
	hello(1)
	time.Sleep(testPace.settle()) // after which it is woken once more
	r.hub.Start(func() { wakes.Add(1) })
	before := wakes.Load()
	hello(1)
	hello(1)
	if n := wakes.Load() - before; n != 0 {
		t.Errorf("it is woken %d times for nothing", n)
	}
	hello(2)
	r.until("it is woken as there is one slot more", func() bool { return wakes.Load() == before+1 })
}

// newFullHub returns a hub whose workers have no place free.
func newFullHub(workers int) *Hub {
	h := &Hub{peers: map[string]*peer{}, tasks: map[string]*task{}, settled: true, started: time.Now(), roster: &Roster{members: map[string]Member{}}}
	for i := range workers {
		name := fmt.Sprintf("w%d", i)
		h.roster.members[name] = Member{Standing: Active}
		h.peers[name] = &peer{hello: hello{Machine: Machine{Wire: Wire, Slots: 4, Toolchains: []string{"go1.26"}}}, seen: time.Now().Add(time.Hour), taken: 4}
	}
	return h
}

// A place that is given back is found, although none was a moment before; of workers that have as many free it is that of the first by name.
func TestAFullHubFindsThePlaceThatIsGivenBack(t *testing.T) {
	h := newFullHub(10)
	job := builder.Job{Recipe: k6x.Recipe{Settings: k6x.Settings{Toolchain: "go1.26"}}}
	if worker, ok := h.Take(job); ok {
		t.Error(worker)
	}
	h.Release("w7")
	h.Release("w3")
	for _, want := range []string{"w3", "w7"} {
		if worker, ok := h.Take(job); !ok || worker != want {
			t.Error(worker, want)
		}
	}
	if worker, ok := h.Take(job); ok {
		t.Error(worker)
	}
}

// What the service is to build first it builds, if it has a place, unless a worker is at it.
func TestTheServiceIsFirst(t *testing.T) {
	h, asked := newFullHub(2), 0
	h.cfg.Slots, h.cfg.First = 1, func(builder.Job) bool { asked++; return true }
	job := builder.Job{Recipe: k6x.Recipe{Settings: k6x.Settings{Toolchain: "go1.26"}}}
	h.Release("w0")
	for _, want := range []string{"", "w0"} {
		if worker, ok := h.Take(job); !ok || worker != want {
			t.Errorf("%q, %t, not %q", worker, ok, want)
		}
	}
	h.Release("")
	h.Release("w0")
	h.peers["w1"].orphans, h.peers["w1"].Running = true, []running{{Key: job.Recipe.Key(), Orphan: true}}
	if worker, ok := h.Take(job); !ok || worker != "w1" || asked != 1 {
		t.Errorf("%q, %t, asked %d times", worker, ok, asked)
	}
}

func BenchmarkWakeOfAFullQueue(b *testing.B) {
	h := newFullHub(1000)
	l := builder.NewLimit(nil, builder.LimitConfig{Places: h, Queue: 100})
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for i := range 100 {
		go func() {
			_, _ = l.Build(ctx, builder.Job{Client: string(rune('a' + i%20)), Recipe: k6x.Recipe{Settings: k6x.Settings{Toolchain: "go1.26"}}})
		}()
	}
	for l.Stats().Waiting < 100 {
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		h.mu.Lock()
		h.full = false
		h.mu.Unlock()
		l.Wake()
	}
}

// A worker that stops may have a successor: what waits has the same grace as without any worker.
func TestAWorkerThatDrainsIsMissedAfterAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.work("w1", 2, make(chan struct{}))
	recipe := r.recipe("hello@v0.1.0")
	r.build(recipe)
	w.next()
	r.hub.mu.Lock()
	r.hub.started = r.hub.started.Add(-2 * testPace.missing())
	r.hub.mu.Unlock()
	close(w.drain)
	r.until("it drains", func() bool { return r.working("w1").State == string(Drained) })
	time.Sleep(2 * testPace.hello())
	if err := r.hub.Able(builder.Job{Recipe: recipe}); err != nil {
		t.Error(err)
	}
	r.hub.mu.Lock()
	r.hub.peers["w1"].able = time.Now().Add(-testPace.missing())
	r.hub.mu.Unlock()
	if err := r.hub.Able(builder.Job{Recipe: recipe}); k6x.KindOf(err) != k6x.Unavailable {
		t.Error(err)
	}
}

// That a worker is not to be trusted counts, although it cannot be written down.
func TestAQuarantineThatCannotBeStored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.work("w1", 1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	js, err := jetstream.New(r.broker.conn)
	if err == nil {
		err = js.DeleteStream(ctx, "KV_"+rosterBucket)
	}
	if err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() { r.hub.quarantine(strings.Repeat("no", maxReason), "w1") })
	}
	calls.Wait()
	if w := r.working("w1"); w.State != string(Quarantined) || len(w.Reason) > maxReason+10 {
		t.Errorf("%+v", w)
	}
	if strings.Contains(r.log.String(), strings.Repeat("no", maxReason)) {
		t.Error("the log has all of it")
	}
	r.hub.quarantine("once more", "w1")
	if n := strings.Count(r.log.String(), `msg="a worker is quarantined"`); n != 1 {
		t.Errorf("it is news %d times", n)
	}
}

// Nothing waits until it is told of workers that are quarantined, which all are by then; one that is revoked stays so.
func TestWhoIsToldOfAQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"w1", "w2", "revoked"} {
		if _, err := r.hub.Register(t.Context(), Registration{Name: name, Instance: "x", Wire: Wire}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.hub.Change(t.Context(), "revoked", "revoke"); err != nil {
		t.Fatal(err)
	}
	hold, told := make(chan struct{}), make(chan string)
	r.hub.cfg.Quarantined = func(worker, reason string, doubted map[string]bool) {
		<-hold
		told <- fmt.Sprint(worker, " ", reason, " ", doubted)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.hub.quarantine("bad", "revoked", "w1", "w2")
		r.hub.quarantine("bad", "revoked", "w1", "w2")
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("it waits")
	}
	close(hold)
	for _, name := range []string{"w1", "w2"} {
		if got, want := <-told, name+" bad map[revoked:false w1:true w2:true]"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if n := strings.Count(r.log.String(), `msg="a worker is quarantined"`); n != 2 || r.working("revoked").State != string(Revoked) {
		t.Errorf("it is said %d times of two, %+v", n, r.working("revoked"))
	}
}

func TestAHelloThatIsTooMuch(t *testing.T) {
	said := hello{Running: make([]running, maxSlots)}
	if !said.sane() {
		t.Error("as many builds as a worker may have")
	}
	if said.Running = make([]running, maxSlots+1); said.sane() {
		t.Error("more builds than a worker may have")
	}
}

package remote

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

// Workers that never said they had a job, as their network is cut, have not died of it.
func TestWorkersThatDoNotAnswerArePassedOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"a1", "a2", "a3"} {
		r.raw(name, func(order) (report, []byte) {
			<-t.Context().Done()
			return report{}, nil
		})
	}
	done := r.build(r.recipe("hello@v0.1.0"))
	r.until("one has the job", func() bool { return r.limit.Stats().Running == 1 })
	good := r.work("good", 1, nil)
	if err := r.wait(done); err != nil || good.builds.Load() != 1 {
		t.Error(err, good.builds.Load())
	}
	if !strings.Contains(r.log.String(), "a build was lost by its worker") {
		t.Error("it is not logged")
	}
}

func TestABrokenMachineIsPassedOver(t *testing.T) {
	for _, kind := range []k6x.Kind{k6x.NoSpace, k6x.Internal, k6x.Unavailable} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			bad := r.work("bad", 2, nil, func(m *machine, _ *WorkerConfig) {
				m.engine = func(context.Context, builder.Job, event.Sink, io.Writer) (k6x.Build, error) {
					m.builds.Add(1)
					return k6x.Build{}, k6x.Errorf(kind, "this machine is broken")
				}
			})
			recipe := r.recipe("hello@v0.1.0")
			if err := r.wait(r.build(recipe)); k6x.KindOf(err) != k6x.Unavailable || err.Error() != "this machine is broken" || bad.builds.Load() != 2 {
				t.Errorf("alone, after %d builds: %v", bad.builds.Load(), err)
			}
			hold := make(chan struct{})
			good := r.work("good", 1, hold)
			first := r.build(recipe)
			good.next()
			second := r.build(r.recipe("world@v0.1.0")) // the bad one has a place, but it waits for the good one
			r.until("it waits", func() bool { return r.limit.Stats().Waiting == 1 && bad.builds.Load() == 3 })
			close(hold)
			if err := errors.Join(r.wait(first), r.wait(second)); err != nil {
				t.Error(err)
			}
		})
	}
}

// standins returns a hub that has heard of idle workers, which are not there.
func standins(names ...string) *Hub {
	h := &Hub{peers: make(map[string]*peer), tasks: make(map[string]*task), settled: true, started: time.Now(), roster: &Roster{members: make(map[string]Member)}}
	for _, name := range names {
		h.roster.members[name] = Member{Standing: Active}
		h.peers[name] = &peer{hello: hello{Machine: Machine{Wire: Wire, Slots: 1, Fetches: true}}, seen: time.Now()}
	}
	return h
}

func TestWhatIsToBeComparedIsNotBuiltByWhoMadeIt(t *testing.T) {
	h := standins("first", "second")
	var built []string
	l := builder.NewLimit(builtBy(func(worker string) error {
		built = append(built, worker)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.peers[worker].seen = time.Time{} // it dies
		return k6x.Errorf(k6x.Unavailable, "gone").WithCause(&builder.Lost{Worker: worker})
	}), builder.LimitConfig{Places: h})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := l.Build(ctx, builder.Job{Rebuild: true, Priority: builder.Background, Avoid: []string{"first"}})
	if !errors.Is(err, context.DeadlineExceeded) || strings.Join(built, " ") != "second" {
		t.Errorf("%v: built by %s", err, built)
	}
}

// builtBy is a builder that is told only where a job has its place.
type builtBy func(worker string) error

func (f builtBy) Build(_ context.Context, job builder.Job) (k6x.Artifact, error) {
	return k6x.Artifact{}, f(job.Worker)
}

func TestWhatTheServiceDoesNotHearIsNotTheFaultOfWorkers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &task{hub: r.hub}
	if job.cut(0) {
		t.Error("it hears all")
	}
	if !job.cut(1) {
		t.Error("the connection was made anew meanwhile, and it blames the worker")
	}
	r.broker.conn.Close()
	if !job.cut(0) {
		t.Error("it has no connection, and blames the worker")
	}
}

// Services that want the same place of a worker all get it, one after the other: that another one was first is no try.
func TestManyServicesWantTheSamePlace(t *testing.T) {
	t.Parallel()
	as := startNATS(t, "w1")
	var services []*rig
	for range 4 {
		services = append(services, newRig(t, func(r *rig) { r.nats = as }))
	}
	services[0].work("w1", 1, nil)
	var all []<-chan error
	for _, r := range services {
		r.until("it knows the worker", func() bool { return r.there("w1") })
		for _, extension := range []string{"hello@v0.1.0", "hello@v0.1.1", "hello@v0.2.0", "hello@v0.2.1", "world@v0.1.0"} {
			all = append(all, r.build(r.recipe(extension)), r.build(r.recipe(extension, "newer@v0.1.0")))
		}
	}
	for i, done := range all {
		if err := services[0].wait(done); err != nil {
			t.Error(i, err)
		}
	}
}

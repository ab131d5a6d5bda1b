package remote

import (
	"context"
	"io"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

// A machine that fails each build at once has most places free.
func TestAMachineWhoseLastBuildFailedIsTakenLast(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad := r.work("bad", 4, nil, func(m *machine, _ *WorkerConfig) {
		m.engine = func(context.Context, builder.Job, event.Sink, io.Writer) (k6x.Build, error) {
			m.builds.Add(1)
			return k6x.Build{}, k6x.Errorf(k6x.BuildFailed, "no compiler works here")
		}
	})
	good := r.work("good", 1, nil)
	for _, c := range []struct {
		extension string
		kind      k6x.Kind
	}{{"hello@v0.1.0", k6x.BuildFailed}, {"hello@v0.1.1", 0}, {"world@v0.1.0", 0}} {
		if err := r.wait(r.build(r.recipe(c.extension))); err != nil && k6x.KindOf(err) != c.kind || (err != nil) != (c.kind != 0) {
			t.Errorf("%s: %v", c.extension, err)
		}
		r.until("both may be given a build", func() bool { // who has waited for one may go on before its place is free
			r.hub.mu.Lock()
			defer r.hub.mu.Unlock()
			b, g := r.hub.peers["bad"], r.hub.peers["good"]
			return b.free() == 4 && g.free() == 1 && !b.shunned && !g.shunned
		})
	}
	if bad.builds.Load() != 1 || good.builds.Load() != 2 {
		t.Errorf("%d builds at the bad one, %d at the good one", bad.builds.Load(), good.builds.Load())
	}
}

func TestWhichWorkerGetsABuildFirst(t *testing.T) {
	h := standins("a", "b", "c", "d")
	h.peers["a"].Slots, h.peers["a"].failing = 3, true
	h.peers["c"].Slots, h.peers["d"].Slots = 2, 2
	order := ""
	for {
		worker, ok := h.Take(builder.Job{})
		if !ok {
			break
		}
		order += worker
	}
	if order != "cdbcdaaa" {
		t.Error(order)
	}
}

package remote

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

func TestWhoJustRegisteredIsNotForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.mu.Lock()
	r.hub.started = r.hub.started.Add(-2 * goneTime)
	r.hub.mu.Unlock()
	c, err := r.hub.Register(t.Context(), Registration{Name: "w1", Instance: "x", Wire: Wire})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(testPace.hello()) // in which the hub looks twice for who is gone
	conn, err := r.dial("w1", c.Password)
	if err != nil {
		t.Fatal("its credential is good no more: ", err)
	}
	defer conn.Close()
	time.Sleep(testPace.hello())
	r.greet(conn, "w1", 1)
	r.until("it is there", func() bool { return r.working("w1").State == "idle" })
}

// Who is forgotten while it is connected finds out, and registers anew.
func TestAWorkerThatWasForgottenComesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.work("w1", 1, nil)
	r.hub.roster.forget(t.Context(), "w1")
	r.until("it is there again", func() bool { return r.working("w1").State == "idle" })
}

func TestWhenAMemberIsForgotten(t *testing.T) {
	now := time.Now()
	h := &Hub{started: now.Add(-3 * goneTime), cfg: Config{Pace: testPace}}
	seen := func(before time.Duration) *peer { return &peer{seen: now.Add(-before)} }
	for name, c := range map[string]struct {
		member Member
		peer   *peer
		want   bool
	}{
		"has just registered":              {Member{Standing: Active, Registered: now}, nil, false},
		"registered and never came":        {Member{Standing: Active, Registered: now.Add(-2 * testPace.missing())}, nil, true},
		"of before the service":            {Member{Standing: Active, Registered: now.Add(-4 * goneTime)}, nil, true},
		"is there":                         {Member{Standing: Active, Registered: now.Add(-2 * goneTime)}, seen(time.Second), false},
		"left":                             {Member{Standing: Active, Registered: now.Add(-3 * goneTime)}, seen(2 * goneTime), true},
		"left, and has just registered":    {Member{Standing: Active, Registered: now}, seen(2 * goneTime), false},
		"left, and a build of it ends yet": {Member{Standing: Active}, &peer{seen: now.Add(-2 * goneTime), taken: 1}, false},
		"revoked yesterday":                {Member{Standing: Revoked, Since: now.Add(-24 * time.Hour)}, nil, false},
		"revoked long ago":                 {Member{Standing: Revoked, Since: now.Add(-2 * decidedTime)}, nil, true},
		"drained long ago, and there":      {Member{Standing: Drained, Since: now.Add(-2 * decidedTime)}, seen(time.Second), false},
	} {
		if got := h.isGone(c.member, c.peer); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What an operator has set up, such as replicas, stays.
func TestTheRosterOfAnOperatorStaysAsItIs(t *testing.T) {
	t.Parallel()
	b, err := Embed(t.TempDir(), 10, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: rosterBucket, History: 5, LimitMarkerTTL: markTime}); err != nil {
		t.Fatal(err)
	}
	r, err := openRoster(t.Context(), b, func(string, Member) {})
	if err != nil {
		t.Fatal(err)
	}
	if status, err := r.kv.Status(t.Context()); err != nil || status.History() != 5 {
		t.Errorf("%+v, %v", status, err)
	}
}

// What a service or a worker says of the time is of no weight: one of both may be an hour off.
func TestAClockIsAnHourOff(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			as := startNATS(t, "w1")
			right, wrong := newRig(t, func(r *rig) { r.nats = as }), newRig(t, func(r *rig) { r.nats = as })
			w := wrong.work("w1", 1, nil, func(m *machine, _ *WorkerConfig) {
				build := m.engine
				m.engine = func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
					report(event.Event{Type: event.Progress, Step: event.Compiling, Time: time.Now().Add(off)})
					return build(ctx, job, report, w)
				}
			})
			right.hub.mu.Lock()
			right.hub.started = right.hub.started.Add(-2 * time.Hour) // so that it knows all who came since
			delete(right.hub.peers, "w1")                             // and has not heard of this one
			right.hub.mu.Unlock()
			if err := wrong.hub.roster.change(t.Context(), "w1", func(m *Member, _ bool) error {
				m.Registered, m.Since = m.Registered.Add(off), m.Since.Add(off)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * testPace.hello()) // in which who is gone would be forgotten
			if err := errors.Join(right.wait(right.build(right.recipe("hello@v0.1.0"))), wrong.wait(wrong.build(wrong.recipe("world@v0.1.0")))); err != nil || w.builds.Load() != 2 {
				t.Error(w.builds.Load(), err)
			}
			for _, r := range []*rig{right, wrong} {
				r.until("the worker is known", func() bool { return r.working("w1").State == "idle" })
				for _, e := range r.of(event.Progress) {
					if d := time.Since(e.Time); d < 0 || d > time.Minute {
						t.Errorf("%s ago: %+v", d, e)
					}
				}
			}
		})
	}
}

// Of calls that come at once and cannot store it, one finds a worker that was not doubted.
func TestAWorkerIsDoubtedOnce(t *testing.T) {
	r := &Roster{changed: func(string, Member) {}, members: map[string]Member{"w1": {Standing: Active}, "revoked": {Standing: Revoked}}}
	for _, c := range []struct {
		name         string
		before, then Standing
	}{{"w1", Active, Quarantined}, {"w1", Quarantined, Quarantined}, {"revoked", Revoked, Revoked}} {
		if before := r.doubt(c.name, "bad"); before != c.before || r.of(c.name).Standing != c.then {
			t.Errorf("%+v: %s, then %s", c, before, r.of(c.name).Standing)
		}
	}
}

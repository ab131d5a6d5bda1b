package remote

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestAnOrderThatComesTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	w := r.work("w1", 2, hold)
	orders := make(chan *nats.Msg, 10)
	if _, err := r.broker.conn.ChanSubscribe(toWorker("w1"), orders); err != nil {
		t.Fatal(err)
	}
	done := r.build(r.recipe("hello@v0.1.0"))
	order := <-orders
	w.next()
	if err := r.broker.conn.Publish(toWorker("w1"), order.Data); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * testPace.hello())
	close(hold)
	if err := r.wait(done); err != nil || w.builds.Load() != 1 {
		t.Error(err, w.builds.Load())
	}
}

// A signal while it asks for another credential ends it with its last build, too.
func TestAWorkerThatRegistersAnewEndsItsBuilds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold := make(chan struct{})
	w := r.work("w1", 1, hold)
	done := r.build(r.recipe("hello@v0.1.0"))
	w.next()
	w.wire.cut(true)
	w.mu.Lock()
	conn := w.Worker.conn
	w.mu.Unlock()
	conn.Close() // as if its credential was refused
	time.Sleep(testPace.hello() / 2)
	close(w.drain)
	time.Sleep(testPace.hello() / 2)
	w.wire.cut(false)
	r.until("it drains", func() bool { return r.working("w1").State == string(Drained) })
	close(hold)
	if err := r.wait(done); err != nil || w.builds.Load() != 1 {
		t.Error(err, w.builds.Load())
	}
	if err := w.end(); err != nil {
		t.Error(err)
	}
}

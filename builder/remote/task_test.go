package remote

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

// What is said takes more bytes as JSON, of which NATS takes so many in a message.
func TestAFailureThatSaysMuchIsThatOfTheBuild(t *testing.T) {
	for name, output := range map[string]string{"templates": "<>", "quotes": `"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			w := r.work("w1", 1, nil, func(m *machine, _ *WorkerConfig) {
				m.engine = func(_ context.Context, job builder.Job, _ event.Sink, _ io.Writer) (k6x.Build, error) {
					m.builds.Add(1)
					return k6x.Build{}, &k6x.Error{Kind: k6x.BuildFailed, Message: "it does not compile", Output: strings.Repeat(output, 1<<20)}
				}
			})
			err := r.wait(r.build(r.recipe("hello@v0.1.0")))
			if err == nil || err.Error() != "it does not compile" || w.builds.Load() != 1 {
				t.Error(w.builds.Load(), err)
			}
		})
	}
}

func TestABuildThatSaysMuchIsDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.work("w1", 1, nil, func(m *machine, _ *WorkerConfig) {
		build := m.engine
		m.engine = func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
			for range 60 {
				report(event.Event{Type: event.Output, Output: strings.Repeat("<", 33_000)})
			}
			return build(ctx, job, report, w)
		}
	})
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil || w.builds.Load() != 1 {
		t.Error(w.builds.Load(), err)
	}
	if n := len(r.of(event.Output)); n != maxTold/33_000 {
		t.Errorf("%d events of output", n)
	}
}

// What no message holds is a failure, and is not tried for ever.
func TestALockThatIsTooLongIsAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.work("w1", 1, nil, func(m *machine, _ *WorkerConfig) {
		build := m.engine
		m.engine = func(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
			got, err := build(ctx, job, report, w)
			got.Lock.GoSum += strings.Repeat("\n", 1<<20)
			return got, err
		}
	})
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); k6x.KindOf(err) != k6x.BuildFailed || !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
}

// slow is a network that lets so many bytes a second through to a service.
func slow(t *testing.T, to string, rate int) (addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				_ = in.(*net.TCPConn).SetReadBuffer(16 << 10)
				go func() {
					_, _ = io.Copy(in, out)
					_ = in.Close()
				}()
				for buffer := make([]byte, rate/50); ; {
					n, err := in.Read(buffer)
					if _, wrong := out.Write(buffer[:n]); err != nil || wrong != nil {
						return
					}
					time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// A line that takes longer for half a megabyte than the time in which an answer has to come.
func TestASlowLineDelivers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.work("w1", 1, nil, func(m *machine, c *WorkerConfig) { c.URL.Host, c.Pace = slow(t, r.addr, 1_600_000), testPace/2 })
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil || w.builds.Load() != 1 {
		t.Error(err, w.builds.Load())
	}
}

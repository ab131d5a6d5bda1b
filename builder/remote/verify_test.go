package remote

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

func TestWhatCannotBeBuiltAgain(t *testing.T) {
	for kind, want := range map[k6x.Kind]string{k6x.BuildFailed: string(Quarantined), k6x.Timeout: "idle"} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(r *rig) { r.verify = 1 })
			r.work("first", 1, nil)
			if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil {
				t.Fatal(err)
			}
			second := r.work("second", 1, nil, func(m *machine, _ *WorkerConfig) {
				m.engine = func(_ context.Context, job builder.Job, _ event.Sink, _ io.Writer) (k6x.Build, error) {
					m.begun <- job
					return k6x.Build{}, k6x.Errorf(kind, "there is no such sum")
				}
			})
			if job := second.next(); job.Lock != nil || !job.Alone {
				t.Errorf("%+v: it is built with what is to be judged", job)
			}
			r.until("its error is logged", func() bool {
				return strings.Contains(r.log.String(), `error="there is no such sum"`) && r.working("second").Failed == 1
			})
			r.until("first is "+want, func() bool { return r.working("first").State == want })
		})
	}
}

func TestVerificationsLeaveRoomForOthers(t *testing.T) {
	log := new(logText)
	h := &Hub{cfg: Config{Logger: slog.New(slog.NewTextHandler(log, nil))}}
	looked := make(chan string, 2*maxVerifies)
	verify := h.Verify(1, func(_ context.Context, key string) (k6x.Artifact, error) {
		looked <- key
		<-t.Context().Done()
		return k6x.Artifact{}, t.Context().Err()
	}, nil)
	for n := range maxVerifies + 1 {
		job := strconv.Itoa(n)
		verify.Send(event.Event{Type: event.Started, Job: job, Worker: "w1"})
		verify.Send(event.Event{Type: event.Stored, Job: job, Key: job, Path: "path-" + job})
	}
	for range maxVerifies {
		<-looked
	}
	if last := fmt.Sprintf("path=path-%d", maxVerifies); len(looked) > 0 || !strings.Contains(log.String(), last) {
		t.Errorf("%d more, log %s", len(looked), log)
	}
}

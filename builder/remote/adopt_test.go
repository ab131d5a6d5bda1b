package remote

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/event"
)

func TestABuildIsNotAdoptedForOtherVersions(t *testing.T) {
	first, second := &k6x.Lock{GoMod: "module k6"}, &k6x.Lock{GoMod: "module k6 // of another record"}
	for _, c := range []struct {
		with, asked *k6x.Lock
		want        bool
	}{{nil, nil, true}, {first, first, true}, {nil, first, false}, {first, nil, false}, {first, second, false}} {
		j := newWork(&Worker{}, order{Job: &builder.Job{Lock: c.with}})
		canceled := false
		j.deserted, j.cancel = true, func(error) { canceled = true }
		if got := j.adopt(order{Job: &builder.Job{Lock: c.asked}}); got != c.want || canceled == c.want {
			t.Errorf("built with %v, asked for %v: adopted %v, canceled %v", c.with, c.asked, got, canceled)
		}
	}
}

// A build that goes on for another service has the time that this one gives it.
func TestAnAdoptedBuildHasTheTimeOfItsNewOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		w := &Worker{cfg: WorkerConfig{Engine: builder.EngineFunc(func(ctx context.Context, _ builder.Job, _ event.Sink, _ io.Writer) (k6x.Build, error) {
			<-ctx.Done()
			return k6x.Build{}, context.Cause(ctx)
		})}}
		o := order{Job: new(builder.Job), Timeout: time.Minute}
		j := newWork(w, o)
		ended := make(chan error)
		go func() {
			_, err := j.build(t.Context(), o, t.TempDir()+"/binary")
			ended <- err
		}()
		time.Sleep(40 * time.Second)
		j.deserted = true
		if !j.adopt(order{Job: new(builder.Job), Timeout: 2 * time.Minute}) {
			t.Error("it is not adopted")
		}
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 160*time.Second {
			t.Errorf("%v, after %s", err, time.Since(begun))
		}
	})
}

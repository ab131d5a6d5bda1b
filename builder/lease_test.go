package builder_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/cache/bucket"
	"k6x/cache/cachetest"
	"k6x/event"
)

// engineFunc is a function as a [builder.Engine].
type engineFunc func(ctx context.Context, w io.Writer) (k6x.Build, error)

func (f engineFunc) Build(ctx context.Context, _ builder.Job, _ event.Sink, w io.Writer) (k6x.Build, error) {
	return f(ctx, w)
}

// replica returns the builders of one service on the bucket of a directory.
func replica(t *testing.T, url string, engine builder.Engine) builder.Builder {
	t.Helper()
	store, err := bucket.Open(t.Context(), bucket.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	keep := builder.Keep(engine, store, nil)
	leases := bucket.NewLeases(store, bucket.LeaseConfig{})
	return builder.NewDedup(builder.NewLimit(keep, builder.LimitConfig{Leases: leases}), builder.DedupConfig{})
}

// build has n callers at each of two replicas build one recipe with engine, and returns their errors.
func build(t *testing.T, n int, engine builder.Engine) (failed []error) {
	t.Helper()
	url := "file://" + t.TempDir()
	var mu sync.Mutex
	var done sync.WaitGroup
	for range 2 {
		service := replica(t, url, engine)
		for range n {
			done.Go(func() {
				artifact, err := service.Build(t.Context(), builder.Job{Recipe: cachetest.Recipe(1)})
				if err == nil && artifact.Size != 6 {
					err = errors.New("it is another artifact")
				}
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			})
		}
	}
	done.Wait()
	return failed
}

func TestServicesOnOneBucketBuildOnce(t *testing.T) {
	var builds atomic.Int32
	for _, err := range build(t, 50, engineFunc(func(_ context.Context, w io.Writer) (k6x.Build, error) {
		builds.Add(1)
		_, err := io.WriteString(w, "binary")
		return k6x.Build{}, err
	})) {
		if err != nil {
			t.Error(err)
		}
	}
	if n := builds.Load(); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

func TestServicesOnOneBucketFailOnce(t *testing.T) {
	var builds atomic.Int32
	for _, err := range build(t, 50, engineFunc(func(context.Context, io.Writer) (k6x.Build, error) {
		builds.Add(1)
		return k6x.Build{}, k6x.Errorf(k6x.BuildFailed, "it does not compile")
	})) {
		if k6x.KindOf(err) != k6x.BuildFailed || err.Error() != "it does not compile" {
			t.Errorf("got %v, want the failure", err)
		}
	}
	if n := builds.Load(); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

// A build whose time was up is nothing that others need not try: what it compiled is kept.
func TestServicesOnOneBucketDoNotRememberATimeout(t *testing.T) {
	url := "file://" + t.TempDir()
	slow := replica(t, url, engineFunc(func(context.Context, io.Writer) (k6x.Build, error) {
		return k6x.Build{}, k6x.Errorf(k6x.Timeout, "the build took longer than 10m0s")
	}))
	if _, err := slow.Build(t.Context(), builder.Job{Recipe: cachetest.Recipe(1)}); k6x.KindOf(err) != k6x.Timeout {
		t.Errorf("got %v, want Timeout", err)
	}
	works := replica(t, url, engineFunc(func(_ context.Context, w io.Writer) (k6x.Build, error) {
		_, err := io.WriteString(w, "binary")
		return k6x.Build{}, err
	}))
	if _, err := works.Build(t.Context(), builder.Job{Recipe: cachetest.Recipe(1)}); err != nil {
		t.Error(err)
	}
}

func TestPanicGivesTheLeaseBack(t *testing.T) {
	url := "file://" + t.TempDir()
	panics := replica(t, url, engineFunc(func(context.Context, io.Writer) (k6x.Build, error) { panic("a bug") }))
	if _, err := panics.Build(t.Context(), builder.Job{Recipe: cachetest.Recipe(1)}); k6x.KindOf(err) != k6x.Internal {
		t.Errorf("got %v, want Internal", err)
	}
	works := replica(t, url, engineFunc(func(_ context.Context, w io.Writer) (k6x.Build, error) {
		_, err := io.WriteString(w, "binary")
		return k6x.Build{}, err
	}))
	if _, err := works.Build(t.Context(), builder.Job{Recipe: cachetest.Recipe(1)}); err != nil {
		t.Error(err)
	}
}

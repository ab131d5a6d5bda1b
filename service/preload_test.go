package service_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/service"
)

func wishes(t *testing.T, list string) []service.Target {
	t.Helper()
	wishes, err := service.ParsePreload(list, k6x.Platform{OS: "linux", Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	return wishes
}

// wantWishes compares what the metrics tell of a preload.
func wantWishes(t *testing.T, server, waiting, done, failed string) {
	t.Helper()
	_, body := do(t, "GET", server+"/metrics")
	for state, want := range map[string]string{"waiting": waiting, "done": done, "failed": failed} {
		if line := `k6x_preload_wishes{state="` + state + `"} ` + want + "\n"; !strings.Contains(string(body), line) {
			t.Errorf("the metrics do not have %s", line)
		}
	}
}

func TestPreloadGoesOnWhereItWasStopped(t *testing.T) {
	path := t.TempDir()
	engine := &wavering{}
	// start preloads with a service of its own on the store, which stops before build number n, and
	// returns how many it made.
	start := func(n int32) int32 {
		store, err := dir.Open(dir.Config{Dir: path})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		before := engine.builds.Load()
		server, s := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
			keep := builder.Keep(engine, store, nil)
			return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
				if job.Priority != builder.Background {
					t.Error("a preload is built before what somebody waits for")
				}
				if engine.builds.Load()-before == n {
					stop()
				}
				return keep.Build(ctx, job)
			})
		}})
		s.Preload(ctx, wishes(t, "k6@latest:linux/arm64,k6,k6/x/hello@v0.1.1:linux/amd64,k6@v1.0.0"))
		if ctx.Err() == nil {
			wantWishes(t, server.URL, "0", "3", "0")
			for _, path := range []string{"/linux/arm64/k6@v1.1.0", helloPath, "/linux/amd64/k6@v1.0.0"} {
				if resp, _ := do(t, "GET", server.URL+path); resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
					t.Errorf("%s: %s", path, resp.Status)
				}
			}
		}
		return engine.builds.Load() - before
	}
	var made []int32
	for _, stop := range []int32{1, -1, -1} {
		made = append(made, start(stop))
	}
	if want := []int32{1, 2, 0}; !cmp.Equal(made, want) {
		t.Errorf("builds: %v, want %v", made, want)
	}
}

func TestPreloadOfServicesOnOneBucketBuildsOnce(t *testing.T) {
	url := "file://" + t.TempDir()
	engine := &wavering{}
	var all sync.WaitGroup
	var servers []string
	for range 3 {
		store, err := bucket.Open(t.Context(), bucket.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		server, s := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
			return builder.NewDedup(builder.NewLimit(builder.Keep(engine, store, nil), builder.LimitConfig{
				Leases: bucket.NewLeases(store, bucket.LeaseConfig{}),
			}), builder.DedupConfig{})
		}})
		servers = append(servers, server.URL)
		all.Go(func() { s.Preload(t.Context(), wishes(t, "k6,k6/x/hello:linux/amd64,k6,k6/x/hello:linux/arm64,k6")) })
	}
	all.Wait()
	if n := engine.builds.Load(); n != 3 {
		t.Errorf("%d builds of three wishes at three services", n)
	}
	for _, server := range servers {
		wantWishes(t, server, "0", "3", "0")
	}
}

// forgetful is a store whose bytes are gone until they are built again.
type forgetful struct {
	cache.Store
	there sync.Map // by key
}

func (f *forgetful) Open(ctx context.Context, key string) (*cache.Entry, error) {
	if _, ok := f.there.Load(key); !ok {
		return nil, cache.ErrEvicted
	}
	return f.Store.Open(ctx, key)
}

func TestAWishThatHasToWaitHoldsUpNoOther(t *testing.T) {
	list := "k6@v1.0.0:linux/amd64,k6@v1.1.0:linux/amd64,k6@v1.0.0:linux/arm64,k6@v1.1.0:linux/arm64"
	var tries []string
	store := &forgetful{}
	p := quick(service.Config{})
	store.Store = p.config.Store
	p.config.Store = store
	down := 3 // how often the first is tried in vain
	bind := true
	p.builder = func(builder.Builder) builder.Builder {
		keep := builder.Keep(&wavering{}, store.Store, nil)
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			tried := job.Recipe.Platform.Arch + " " + job.Recipe.K6.Version
			if !bind {
				tries = append(tries, tried)
				switch {
				case tried == "amd64 v1.0.0" && down > 0:
					down--
					return k6x.Artifact{}, k6x.Errorf(k6x.Unavailable, "down")
				case tried == "arm64 v1.0.0":
					return k6x.Artifact{}, k6x.Errorf(k6x.BuildFailed, "it does not compile")
				}
				store.there.Store(job.Recipe.Key(), true)
			}
			return keep.Build(ctx, job)
		})
	}
	server, s := newServer(t, p)
	for path := range strings.SplitSeq("/linux/amd64/k6@v1.0.0 /linux/amd64/k6@v1.1.0 /linux/arm64/k6@v1.0.0 /linux/arm64/k6@v1.1.0", " ") {
		do(t, "GET", server.URL+path) // binds it, so that nothing below needs the network
	}
	bind = false
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s.Preload(t.Context(), wishes(t, list))
		if took, want := time.Since(start), (30+60+120)*time.Second; took != want {
			t.Errorf("it took %s, want %s", took, want)
		}
	})
	want := []string{"amd64 v1.0.0", "amd64 v1.1.0", "arm64 v1.0.0", "arm64 v1.1.0", "amd64 v1.0.0", "amd64 v1.0.0", "amd64 v1.0.0"}
	if diff := cmp.Diff(want, tries); diff != "" {
		t.Error(diff)
	}
	wantWishes(t, server.URL, "0", "3", "1")
}

// sent is a log that is read line by line.
type sent chan string

func (s sent) Write(p []byte) (int, error) {
	s <- string(p)
	return len(p), nil
}

func TestAWishWaitsForARegistryThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		overlay         []string
		waiting, failed string
	}{
		"all can be read": {nil, "1", "1"},
		"one cannot":      {[]string{"http://127.0.0.1:1/registry.json"}, "2", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			tried := make(sent, 100)
			p := quick(service.Config{Logger: slog.New(slog.NewTextHandler(tried, nil))})
			p.overlay = c.overlay
			ctx, stop := context.WithCancel(t.Context())
			second := make(chan struct{})
			p.builder = func(builder.Builder) builder.Builder {
				return builderFunc(func(ctx context.Context, _ builder.Job) (k6x.Artifact, error) {
					close(second)
					<-ctx.Done()
					return k6x.Artifact{}, ctx.Err()
				})
			}
			server, s := newServer(t, p)
			var preload sync.WaitGroup
			preload.Go(func() { s.Preload(ctx, wishes(t, "k6,k6/x/elsewhere:linux/amd64,k6@v1.1.0")) })
			for range 1 + len(c.overlay) { // a k6 is not built either without a registry that was named
				for !strings.Contains(<-tried, "preload") {
				}
			}
			if c.overlay == nil {
				<-second
			}
			wantWishes(t, server.URL, c.waiting, "0", c.failed)
			stop()
			preload.Wait()
		})
	}
}

func TestRequestsAreAnsweredDuringAPreload(t *testing.T) {
	var asked atomic.Bool
	begun, end := make(chan struct{}), make(chan struct{})
	server, s := newServer(t, parts{builder: func(builder.Builder) builder.Builder {
		return builderFunc(func(context.Context, builder.Job) (k6x.Artifact, error) {
			if !asked.Swap(true) {
				close(begun)
			}
			<-end
			return k6x.Artifact{}, errors.New("no")
		})
	}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Preload(t.Context(), wishes(t, "k6"))
	}()
	<-begun
	wantWishes(t, server.URL, "1", "0", "0")
	for _, path := range []string{"/alive", "/ready"} {
		if resp, _ := do(t, "GET", server.URL+path); resp.StatusCode != 200 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	close(end)
	<-done
	wantWishes(t, server.URL, "0", "0", "1")
}

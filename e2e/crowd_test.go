package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Two hundred clients ask for one URL that nobody asked for before. Half of them go
// away while it is built; the other half get one and the same binary.
func TestCrowdOnOneColdURL(t *testing.T) {
	const clients = 200
	s := start(t, warmDir(t))
	url := s.url + host + "k6@v1.8.1,k6/x/one@v0.1.0,k6/x/redis@v0.3.6"
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0, DisableKeepAlives: true}}

	impatient, leave := context.WithCancel(t.Context())
	defer leave()
	var served, gone atomic.Int64
	var digests sync.Map
	var wg sync.WaitGroup
	for i := range clients {
		ctx := t.Context()
		if i%2 == 1 {
			ctx = impatient
		}
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := client.Do(req)
			if err != nil {
				if errors.Is(err, context.Canceled) {
					gone.Add(1)
					return
				}
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			n, err := io.Copy(io.Discard, resp.Body)
			if err != nil && ctx.Err() != nil {
				gone.Add(1)
				return
			}
			if resp.StatusCode != http.StatusOK || err != nil || n != resp.ContentLength {
				t.Errorf("%d, %d of %d bytes, %v", resp.StatusCode, n, resp.ContentLength, err)
			}
			digests.Store(resp.Header.Get("Etag"), true)
			served.Add(1)
		})
	}
	// The build is under way when the metric says so; then half of the clients leave.
	for s.metric(t, "k6x_builds_running") == 0 {
	}
	leave()
	wg.Wait()
	if served.Load() < clients/2 || served.Load()+gone.Load() != clients {
		t.Errorf("%d served, %d went away", served.Load(), gone.Load())
	}
	if gone.Load() == 0 {
		t.Error("nobody went away, so that this shows nothing")
	}
	if got := s.metric(t, "k6x_builds_total"); got != 1 {
		t.Errorf("%v builds", got)
	}
	count := 0
	digests.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("%d different answers", count)
	}
	if peak := s.peakMemory(t); peak > 100<<20 {
		t.Errorf("k6x took %d MiB", peak>>20)
	} else {
		t.Logf("peak memory %d MiB", peak>>20)
	}
	checkBinary(t, url, get(t, url))
}

// A failure costs one build, however many ask for it.
func TestCrowdOnWhatDoesNotCompile(t *testing.T) {
	s := start(t, warmDir(t))
	url := s.url + host + "k6@v1.8.1,k6/x/broken@v0.1.0,k6/x/two@v0.2.0"
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a, err := try(t.Context(), http.MethodGet, url)
			if err != nil || a.status != http.StatusUnprocessableEntity {
				t.Error(fmt.Errorf("%d, %w", a.status, err))
			}
		})
	}
	wg.Wait()
	if got := s.metric(t, "k6x_builds_total"); got != 1 {
		t.Errorf("%v builds", got)
	}
}

// With --max-wait, a request that waits is sent round, and a client which follows
// redirects gets the binary; one that does not sees nothing that a cache would keep.
func TestMaxWaitSendsClientsRound(t *testing.T) {
	t.Parallel()
	flags, list, open := gate(t)
	s := start(t, warmDir(t), append(flags, "--max-wait", "4s")...)
	first := get(t, s.url+host+list)
	if first.status != 307 || first.header.Get("Location") != host+list+"?round=1" || first.header.Get("Cache-Control") != "no-cache, no-store" {
		t.Fatalf("%d to %s, %s", first.status, first.header.Get("Location"), first.header.Get("Cache-Control"))
	}
	if got := get(t, s.url+host+list+"?round=8"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("a request that was sent round eight times: %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
	}
	open()
	resp, err := http.Get(s.url + first.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK || err != nil || n != resp.ContentLength {
		t.Errorf("%d, %d bytes, %v", resp.StatusCode, n, err)
	}
	if got := s.metric(t, "k6x_builds_total"); got != 1 {
		t.Errorf("%v builds", got)
	}
}

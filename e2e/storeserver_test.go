package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// descriptors returns how many files and sockets the server has open.
func (s *k6x) descriptors(t testing.TB) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		if full {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: descriptors are counted in /proc: %v", err)
	}
	return len(open)
}

// settled returns the number of descriptors once it does not change any more, after the
// clients of the tests have hung up.
func (s *k6x) settled(t testing.TB) (n int) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	direct.CloseIdleConnections()
	same := 0
	eventually(t, "the number of descriptors settles", func() bool {
		last := n
		if n = s.descriptors(t); n != last {
			same = 0
		}
		same++
		return same == 20
	})
	return n
}

// What k6build server makes goes to k6build store; the stock k6 takes it from there. Then
// fifty clients download through the one, and fifty through the other.
func TestStoreServerAndServerWithFiftyClientsEach(t *testing.T) {
	forFull(t)
	t.Parallel()
	const clients = 50
	store := startK6build(t, "store", "--store-dir", filepath.Join(t.TempDir(), "objects"))
	server := startK6build(t, "server", "--catalog", "../testdata/registry.json", "--cache-dir", warmDir(t), "--store-url", store.url)
	u := newUser(t, server.url)
	u.works(redisScript, "the client is a function")
	if n := store.answered(t, "hit"); n != 1 {
		t.Errorf("k6 downloads %d times from the store", n)
	}
	want := fetch(t, server.url+host+redisList)
	object := store.url + "/store/" + want.digest() + "/download"
	if got := fetch(t, object); got.digest() != want.digest() {
		t.Errorf("the store has %s, want %s", got.digest(), want.digest())
	}

	servers := map[*k6x]string{store: object, server: server.url + host + redisList}
	before := map[*k6x]int{}
	for s := range servers {
		before[s] = s.settled(t)
	}
	var all sync.WaitGroup
	for _, url := range servers {
		for range clients {
			all.Go(func() {
				if tag, err := drain(url); err != nil || tag != want.header.Get("Etag") {
					t.Errorf("%s: %s, %v", url, tag, err)
				}
			})
		}
	}
	all.Wait()
	for s := range servers {
		if peak := s.peakMemory(t); peak > 100<<20 {
			t.Errorf("%s took %d MiB", s.cmd.Args[1], peak>>20)
		} else {
			t.Logf("k6build %s: peak memory %d MiB", s.cmd.Args[1], peak>>20)
		}
		if after := s.settled(t); after > before[s] {
			t.Errorf("%s has %d descriptors open, %d before", s.cmd.Args[1], after, before[s])
		}
	}
}

// BenchmarkBuildAPI asks the running program for a binary that is there, with POST /build over
// fifty connections at once, each of which asks for /alive in turn: what a request costs that
// does nothing. Paced, each client pauses between the two; flat out, one waits mostly for
// the processor. It reports the median and the 99th percentile of both, and how many
// more descriptors the service has open afterwards.
func BenchmarkBuildAPI(b *testing.B) {
	warmUp(b)
	s := start(b, world.warm())
	fetch(b, s.url+host+redisList)
	b.Run("paced", func(b *testing.B) { benchmarkBuildAPI(b, s, 50*time.Millisecond) })
	b.Run("flat-out", func(b *testing.B) { benchmarkBuildAPI(b, s, 0) })
}

func benchmarkBuildAPI(b *testing.B, s *k6x, pause time.Duration) {
	const (
		connections = 50
		rounds      = 20 // of each connection in one iteration
	)
	body := `{"k6": "v1.8.1", "dependencies": [{"name": "k6/x/redis", "constraints": ">=0.3"}], "platform": "` + strings.Trim(host, "/") + `"}`
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	ask := func(method, path, body, want string) time.Duration {
		began := time.Now()
		req, err := http.NewRequestWithContext(b.Context(), method, s.url+path, strings.NewReader(body))
		if err != nil {
			b.Error(err)
			return 0
		}
		resp, err := client.Do(req)
		if err != nil {
			b.Error(err)
			return 0
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			b.Errorf("%s %s: %s, %v\n%s", method, path, resp.Status, err, text)
		}
		return time.Since(began)
	}
	ask(http.MethodPost, "/build", body, "v0.3.6")
	client.CloseIdleConnections()
	before := s.settled(b)
	wait := func() {
		if pause > 0 {
			time.Sleep(rand.N(2 * pause)) // not all at the same moment
		}
	}
	var mu sync.Mutex // guards builds and alives
	var builds, alives []time.Duration
	for b.Loop() {
		var all sync.WaitGroup
		for range connections {
			all.Go(func() {
				var build, alive []time.Duration
				for range rounds {
					wait()
					build = append(build, ask(http.MethodPost, "/build", body, "v0.3.6"))
					wait()
					alive = append(alive, ask(http.MethodGet, "/alive", "", ""))
				}
				mu.Lock()
				defer mu.Unlock()
				builds, alives = append(builds, build...), append(alives, alive...)
			})
		}
		all.Wait()
	}
	client.CloseIdleConnections()
	after := s.settled(b)
	report := func(name string, d []time.Duration) {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(d[len(d)*99/100].Microseconds()), name+"-p99-µs")
	}
	report("build", builds)
	report("alive", alives)
	b.ReportMetric(float64(after-before), "left-fds")
}

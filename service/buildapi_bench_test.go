package service_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkBuildAPIHit asks for a binary that is there over 50 connections at once, next to
// a handler that does no more than write the same answer. Besides the time of one it
// reports the 99th percentile of what a client waits. Flat out, that is mostly the queue
// for the processor, also for the reference; paced, each client pauses between requests.
func BenchmarkBuildAPIHit(b *testing.B) {
	server, _ := sized(b, 1<<20)
	_, answer := post(b, server.URL+"/build", helloBody)
	artifactOf(b, answer)
	reference := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	b.Cleanup(reference.Close)
	for _, c := range []struct{ name, url, body string }{
		{"reference", reference.URL, helloBody},
		{"pinned", server.URL, helloBody},
		{"open", server.URL, strings.Replace(helloBody, `"v0.1.1"`, `"^0.1"`, 1)},
	} {
		b.Run("flat-out/"+c.name, func(b *testing.B) { atOnce(b, 50, 0, c.url+"/build", c.body) })
		b.Run("paced/"+c.name, func(b *testing.B) { atOnce(b, 50, 50*time.Millisecond, c.url+"/build", c.body) })
	}
}

// atOnce posts a body over so many connections, one request after another on each, with a
// pause between them.
func atOnce(b *testing.B, connections int, pause time.Duration, url, body string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	b.SetParallelism((connections + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	var mu sync.Mutex // guards waits
	var waits []time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var own []time.Duration
		for pb.Next() {
			start := time.Now()
			resp, err := client.Post(url, "application/json", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				b.Error(resp.Status, err)
				return
			}
			own = append(own, time.Since(start))
			time.Sleep(pause)
		}
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, own...)
	})
	b.StopTimer()
	slices.Sort(waits)
	if n := len(waits); n > 0 {
		b.ReportMetric(float64(waits[n*99/100].Microseconds()), "p99-µs")
		b.ReportMetric(float64(waits[n/2].Microseconds()), "p50-µs")
	}
}

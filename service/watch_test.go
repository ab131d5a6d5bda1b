package service_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache/blob/mem"
	"k6x/event"
	"k6x/service"
)

const (
	printed  = 32       // lines
	lineSize = 32 << 10 // bytes
)

// talkative is a builder that prints lines before it builds, once it may.
type talkative struct {
	builder.Builder
	begin  chan struct{}
	stream *event.Stream
	took   chan time.Duration
}

func (b talkative) Build(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
	<-b.begin
	begun := time.Now()
	for range printed {
		b.stream.Publish(event.Event{Job: job.ID, Path: job.Recipe.Path(), Time: time.Now(), Type: event.Output, Output: strings.Repeat("x", lineSize-1) + "\n"})
	}
	b.took <- time.Since(begun)
	return b.Builder.Build(ctx, job)
}

// watched has a build printed to watchers, of which half read nothing, and returns how long that took, and how much memory the
// watchers took before they were gone.
func watched(t testing.TB, watchers int) (took time.Duration, memory int64) {
	b := talkative{begin: make(chan struct{}), stream: new(event.Stream), took: make(chan time.Duration, 1)}
	p := parts{config: service.Config{Builds: service.Builds{Events: b.stream}}}
	p.builder = func(real builder.Builder) builder.Builder { b.Builder = real; return b }
	server := newHistoryServer(t, &mem.Bucket{}, p)
	resp, err := http.Post(server.URL+"/builds", "application/json", strings.NewReader(`{"path": "`+helloPath+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	before := heap()
	var readers sync.WaitGroup
	var silent []net.Conn
	for i := range watchers {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET %s/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", resp.Header.Get("Location")); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			silent = append(silent, conn)
			continue
		}
		readers.Go(func() {
			defer conn.Close()
			end := new(tail)
			if _, err := io.Copy(end, conn); err != nil || !bytes.Contains(end.text, []byte(`"type":"stored"`)) {
				t.Errorf("a watcher does not see the end: %v, %.200q", err, end.text)
			}
		})
	}
	close(b.begin)
	took = <-b.took
	readers.Wait()
	memory = heap() - before
	for _, conn := range silent {
		conn.Close()
	}
	return took, memory
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-1024):]
	return len(p), nil
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// Watchers of which half read nothing, a thousand of them with K6X_TEST_NIGHTLY=1, hold up no build, and each takes memory by what it is, not by
// how much the build prints.
func TestManyWatchersOfOneBuild(t *testing.T) {
	watchers := int64(100)
	if os.Getenv("K6X_TEST_NIGHTLY") != "" {
		watchers = 1000
	}
	_, memory := watched(t, int(watchers))
	t.Logf("%d KiB a watcher", memory/watchers>>10)
	if most := watchers*192<<10 + 4*printed*lineSize; memory > most {
		t.Errorf("%d watchers take %d MiB", watchers, memory>>20)
	}
}

func BenchmarkWatchers(b *testing.B) {
	var with, without time.Duration
	for range b.N {
		took, _ := watched(b, 1000)
		with += took
		took, _ = watched(b, 0)
		without += took
	}
	b.ReportMetric(float64(with)/float64(without), "without-ratio")
	b.ReportMetric(float64(with.Microseconds())/float64(b.N)/printed, "µs/line")
}

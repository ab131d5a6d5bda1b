//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// moments are those of a build at which workers are killed, as they are seen from outside.
var moments = []string{"begin", "compile", "link", "deliver"}

// storm kills workers of the first service: so many at each of the moments, and others that build with some of them. For each another one comes.
func (f *fleet) storm(each int) {
	left, killed := make(map[string]int), make(map[string]int) // by moment, by path
	for _, m := range moments {
		left[m] = each
	}
	before, seen, armed := len(f.workers), make(map[*worker]string), (*worker)(nil)
	for slices.Max(slices.Collect(maps.Values(left))) > 0 {
		time.Sleep(5 * time.Millisecond)
		tools := map[string][]string{"compile": toolsRun("compile"), "link": toolsRun("link")}
		busy := make(map[*worker]string) // by path
		for _, w := range f.workers {
			if path := w.building(); path != "" && killed[path] < 2 && !w.ended() { // of three that it takes with it, a build fails
				busy[w] = path
			}
		}
		for w, path := range busy { // in no order
			at, runs := "", func(tool string) bool {
				return slices.ContainsFunc(tools[tool], func(args string) bool { return strings.Contains(args, w.cache) })
			}
			switch {
			case left["begin"] > 0 && seen[w] != path:
				at = "begin"
			case left["link"] > 0 && runs("link"):
				at = "link"
			case left["compile"] > 0 && runs("compile"):
				at = "compile"
			}
			if armed != nil && armed.ended() {
				armed = nil
			}
			if left["deliver"] > 0 && armed == nil {
				armed = w
				w.wire.cutAfter(up, 50<<10+rand.Int64N(1<<20), true)
			}
			if seen[w] = path; armed != nil && armed.wire.wasCut() {
				w, at, armed = armed, "deliver", nil
			}
			if at == "" {
				continue
			}
			left[at]--
			victims := []*worker{w}
			for other := range maps.Keys(busy) {
				if other != w && busy[other] != path && len(victims) < 1+rand.N(3) {
					victims = append(victims, other)
				}
			}
			for _, v := range victims {
				_ = v.cmd.Process.Kill()
				killed[busy[v]]++
			}
			for i, v := range victims {
				<-v.gone
				f.work(f.urls[0], []string{"", v.name}[i%2])
			}
			break
		}
	}
	f.t.Logf("%d workers were killed, with %d builds", len(f.workers)-before, len(killed))
}

func (w *worker) ended() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// Workers die at each moment of a build, some at once, and the service dies too: who waits has what was asked for.
func TestWorkersDieAtEachMoment(t *testing.T) {
	forFull(t)
	t.Parallel()
	rounds, extensions := 1, 9
	if nightly {
		rounds, extensions = 20, 12
	}
	f := newFleet(t, extensions)
	f.serve()
	for range 8 {
		f.work(f.urls[0], "")
	}
	f.warm()
	f.during(16, func() {
		for range rounds {
			f.storm(2)
			f.restart(0, rand.N(2*time.Second))
			f.storm(1)
		}
	})
	f.check()
}

// One of two services dies, and NATS for longer than a worker is waited for, as its disk is full, and a worker stalls meanwhile: who waits has
// what was asked for.
func TestServicesAndNATSDieAndAWorkerStalls(t *testing.T) {
	forFull(t)
	t.Parallel()
	outages, extensions := []time.Duration{10 * time.Second}, 10
	if nightly {
		outages, extensions = []time.Duration{0, time.Second, 5 * time.Second, 9 * time.Second, 20 * time.Second, 40 * time.Second}, 12
	}
	onS3(t, func(t *testing.T, endpoint string) {
		nats := startNATS(t)
		f := newFleet(t, extensions, "--nats", nats.url(), "--store", bucketURL(endpoint))
		f.serve()
		f.serve()
		for i := range 6 {
			f.work(f.urls[i%2], "")
		}
		f.warm()
		f.during(8, func() {
			for i, outage := range outages {
				stalled := f.busy()
				if err := stalled.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Error(err)
				}
				f.restart(i%2, rand.N(2*time.Second))
				full := nats.fill()
				for n := 0; full && f.register(fmt.Sprintf("x%d-%d", i, n)); n++ { // there is room for some
				}
				f.goesOn()
				nats.kill()
				time.Sleep(outage)
				nats.start()
				if err := stalled.cmd.Process.Signal(syscall.SIGCONT); err != nil {
					t.Error(err)
				}
				eventually(t, "workers are let in", func() bool { return f.register(fmt.Sprintf("y%d", i)) })
				f.goesOn()
			}
		})
		f.check()
	})
}

// register reports whether a worker of that name gets a credential.
func (f *fleet) register(name string) bool {
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.urls[0]+"/worker/register", strings.NewReader(fmt.Sprintf(`{"name":%q,"instance":"x","wire":1}`, name)))
	if err != nil {
		f.t.Error(err)
		return false
	}
	req.Header.Set("Authorization", "Bearer "+workerToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// busy returns a worker that builds, once there is one.
func (f *fleet) busy() (busy *worker) {
	f.t.Helper()
	eventually(f.t, "a worker builds", func() bool {
		for _, w := range f.workers {
			if !w.ended() && w.building() != "" {
				busy = w
			}
		}
		return busy != nil
	})
	return busy
}

// goesOn waits until some clients more are answered.
func (f *fleet) goesOn() {
	f.t.Helper()
	answered := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.digests)
	}
	before := answered()
	eventually(f.t, "clients are answered", func() bool { return answered() >= before+8 })
}

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

// storm kills workers of a fleet.
type storm struct {
	f      *fleet
	left   map[string]int     // kills to come, by moment of a build
	killed map[string]int     // workers by path of what they built: of three that it takes with it, a build fails
	seen   map[*worker]string // what they were seen to build
	armed  *worker            // whose wire is cut as it delivers; nil: nobody
}

// storm kills workers of the first service, so many at each moment of a build, and others that build with some of them. For each another one comes.
func (f *fleet) storm(each int) {
	s := &storm{f, map[string]int{"begin": each, "compile": each, "link": each, "deliver": each}, make(map[string]int), make(map[*worker]string), nil}
	before := len(f.workers)
	for slices.Max(slices.Collect(maps.Values(s.left))) > 0 {
		time.Sleep(5 * time.Millisecond)
		tools := map[string][]string{"compile": toolsRun("compile"), "link": toolsRun("link")}
		for _, w := range f.workers {
			if at := s.moment(w, tools); at != "" {
				s.left[at]--
				s.kill(w)
				break
			}
		}
	}
	f.t.Logf("%d workers were killed, with %d builds", len(f.workers)-before, len(s.killed))
}

// moment returns at which moment of a build a worker is to be killed now, as seen from outside; "": at none.
func (s *storm) moment(w *worker, tools map[string][]string) string {
	path := w.building()
	begins, runs := s.seen[w] != path, func(tool string) bool {
		return slices.ContainsFunc(tools[tool], func(args string) bool { return strings.Contains(args, w.cache) })
	}
	s.seen[w] = path
	switch may := path != "" && s.killed[path] < 2; {
	case w.ended():
	case w == s.armed && w.wire.wasCut():
		if s.armed = nil; may {
			return "deliver"
		}
		w.wire.mend()
	case !may:
	case s.left["begin"] > 0 && begins:
		return "begin"
	case s.left["link"] > 0 && runs("link"):
		return "link"
	case s.left["compile"] > 0 && runs("compile"):
		return "compile"
	case s.left["deliver"] > 0 && (s.armed == nil || s.armed.ended()):
		s.armed = w
		w.wire.cutAfter(up, 50<<10+rand.Int64N(1<<20), true)
	}
	return ""
}

// kill kills a worker, and up to two others that build something else.
func (s *storm) kill(w *worker) {
	victims := map[string]*worker{w.building(): w} // by path
	for _, i := range rand.Perm(len(s.f.workers)) {
		other := s.f.workers[i]
		if path := other.building(); path != "" && s.killed[path] < 2 && !other.ended() && victims[path] == nil && len(victims) < 1+rand.N(3) {
			victims[path] = other
		}
	}
	for path, v := range victims {
		_ = v.cmd.Process.Kill()
		s.killed[path]++
	}
	for _, v := range victims {
		<-v.gone
		s.f.work(s.f.urls[0], []string{"", v.name}[rand.N(2)])
	}
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

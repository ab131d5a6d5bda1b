//go:build linux

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Each of many keys, for which clients come and go, is built once, by one of the workers, and all who stay have it.
func TestWorkersBuildEachKeyOnce(t *testing.T) {
	forFull(t)
	t.Parallel()
	check := func(t *testing.T, keys, extensions, services int, args ...string) {
		if nightly {
			keys, extensions = 10*keys, extensions+4 // of which there are more combinations
		}
		f := newFleet(t, extensions, args...)
		for range services {
			f.serve()
		}
		for i := range 8 {
			f.work(f.services[i%services].url, "")
		}
		f.warm()
		began := time.Now()
		f.crowd(keys)
		t.Logf("%d keys took %s", keys, time.Since(began).Round(time.Second))
		begun, built := f.said("msg=building")-f.lost(), 0.0
		for _, s := range f.services {
			built += s.metric(t, "k6x_builds_total")
			if found := storeLeftovers(t, s.cache); len(found) > 0 {
				t.Errorf("left over: %v", found)
			}
			if log := s.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "build failed") {
				t.Error("something went wrong: see the log")
			}
			a, err := try(t.Context(), http.MethodGet, s.url+"/worker/nats", "Connection: Upgrade", "Upgrade: websocket", "Authorization: Basic dzE6Z3Vlc3NlZA==") // w1:guessed
			said := s.logged(t)                                                                                                                                    // where the machine is slow, a report may also come twice, or for a build that was given to another worker
			strangers := strings.Count(said, "a worker was refused: ") - strings.Count(said, "it reports a job that it does not have")
			if args == nil && (err != nil || a.status != http.StatusUnauthorized || strangers != 1 || s.metric(t, "k6x_workers_refused_total") < 1) || args != nil && strangers != 0 {
				t.Errorf("a stranger who dials a NATS of the service: %v, %d %s; %d were refused", err, a.status, a.text(), strangers)
			}
		}
		if keys++; begun != keys || built != float64(keys) { // with the one that warmed it
			t.Errorf("%d builds were begun and %v ended for %d keys", begun, built, keys)
		}
	}
	t.Run("two services", func(t *testing.T) {
		onS3(t, func(t *testing.T, endpoint string) {
			check(t, 200, 8, 2, "--nats", startNATS(t).url(), "--store", bucketURL(endpoint))
		})
	})
	t.Run("one service with a NATS of its own", func(t *testing.T) { check(t, 60, 6, 1) })
}

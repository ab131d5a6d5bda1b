package service_test

import (
	"strings"
	"testing"

	"k6x/service"
)

// A proxy that keeps a path to itself keeps the metrics to itself.
func TestMetricsHaveOneName(t *testing.T) {
	for base, names := range map[string][]string{"": {"/metrics"}, "/k6x": {"/metrics", "/k6x/metrics"}} {
		server, _ := newServer(t, quick(service.Config{BasePath: base}))
		shown := func(path string) bool {
			_, body := do(t, "GET", server.URL+path)
			return strings.Contains(string(body), "k6x_builds_total")
		}
		for _, path := range names {
			if !shown(path) {
				t.Errorf("with base path %q: %s has no metrics", base, path)
			}
		}
		for _, path := range []string{
			"//metrics", "/metrics/", "///metrics//", "/%6detrics", "//%6detrics", "//k6x/metrics", "/k6x//metrics", "/k6x/metrics/", "/k6x/%6detrics",
			"/linux/../metrics", "/./metrics",
		} {
			if shown(path) {
				t.Errorf("with base path %q: %s shows the metrics", base, path)
			}
		}
	}
}

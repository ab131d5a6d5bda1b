package service_test

import (
	"regexp"
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

// Dashboards of k6build draw by the bounds that it has.
func TestHistogramsHaveTheBucketsOfK6build(t *testing.T) {
	server, _ := newServer(t, quick(service.Config{}))
	_, body := do(t, "GET", server.URL+"/metrics")
	for name, want := range map[string]string{
		"request": "0.1 0.5 1 2.5 5 10 20 30 60 120 300 +Inf", "build": "1 5 10 20 30 45 60 75 90 105 120 300 +Inf",
	} {
		var got []string
		for _, found := range regexp.MustCompile(`k6build_`+name+`_duration_seconds_bucket\{le="(.*?)"\}`).FindAllStringSubmatch(string(body), -1) {
			got = append(got, found[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

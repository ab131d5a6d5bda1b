package service

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"k6x"
	"k6x/cache/blob"
	"k6x/event"
)

// Metrics are the counters of a service, in a registry of their own.
type Metrics struct {
	registry      *prometheus.Registry
	totals        *prometheus.Registry // of some of the same counters, for /status
	requests      *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	hits          prometheus.Counter
	builds        *prometheus.CounterVec
	failures      *prometheus.CounterVec
	buildDuration prometheus.Histogram
	steps         *prometheus.HistogramVec
	targets       *prometheus.GaugeVec
	k6build       k6buildMetrics
	finished      sync.Map // by job: what came of the engine, until the job has ended
}

// NewMetrics returns metrics at zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), totals: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: requestsTotal, Help: "Requests by outcome.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "k6x_request_duration_seconds", Help: "Time from a request to the end of its answer, by outcome.",
			Buckets: requestBuckets(),
		}, []string{"outcome"}),
		hits: prometheus.NewCounter(prometheus.CounterOpts{Name: hitsTotal, Help: "Requests answered from the store."}),
		builds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "k6x_builds_total", Help: "Builds that have ended, by result: success or failure.",
		}, []string{"result"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "k6x_builds_failed_total", Help: "Builds that failed, by kind of error.",
		}, []string{"kind"}),
		buildDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "k6x_build_duration_seconds", Help: "Time of a build, without its wait in the queue.",
			Buckets: buildBuckets(),
		}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "k6x_build_step_duration_seconds", Help: "Time of a step of a build: preparing, pulling, fetching, compiling, linking or checking.",
			Buckets: requestBuckets(),
		}, []string{"step"}),
		targets: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "k6x_preload_wishes", Help: "What is to be built before anybody asks, by state: waiting, done or failed.",
		}, []string{"state"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.hits, m.builds, m.failures, m.buildDuration, m.steps, m.targets,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.totals.MustRegister(m.requests, m.hits, m.builds)
	m.k6build = newK6buildMetrics(m.registry)
	m.builds.WithLabelValues(success)
	m.builds.WithLabelValues(failure)
	return m
}

// Names of counters that are read here, too, and results of builds.
const (
	requestsTotal = "k6x_requests_total"
	hitsTotal     = "k6x_store_hits_total"

	success = "success"
	failure = "failure"
)

// hit counts a request that was answered from the store.
func (m *Metrics) hit() { m.hits.Inc() }

// Gauge adds a value that is read when it is asked for. Labels are pairs of a name and a value.
func (m *Metrics) Gauge(name, help string, value func() float64, labels ...string) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: pairs(labels)}, value))
}

// Counter adds a count that is read when it is asked for.
func (m *Metrics) Counter(name, help string, value func() float64, labels ...string) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: pairs(labels)}, value))
}

// Info adds a gauge that is always 1, for what its labels say.
func (m *Metrics) Info(name, help string, labels ...string) {
	m.Gauge(name, help, func() float64 { return 1 }, labels...)
}

func pairs(labels []string) prometheus.Labels {
	all := prometheus.Labels{}
	for pair := range slices.Chunk(labels, 2) {
		all[pair[0]] = pair[1]
	}
	return all
}

// ObserveStore returns what counts the exchanges with a place for binaries.
func (m *Metrics) ObserveStore() (of func(place string) blob.Observer) {
	labels := []string{"place", "operation"}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "k6x_store_requests_total", Help: "Exchanges with a place for binaries, by place and operation."}, labels)
	faults := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "k6x_store_errors_total", Help: "Those that failed, by kind of fault. That there is nothing of a name is none.",
	}, append(labels, "kind"))
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "k6x_store_request_duration_seconds", Help: "Time of an exchange; of an open, until there are bytes.", Buckets: requestBuckets(),
	}, labels)
	m.registry.MustRegister(requests, faults, duration)
	return func(place string) blob.Observer {
		type operation struct {
			requests prometheus.Counter
			duration prometheus.Observer
		}
		known := make(map[string]operation) // a hit is one of them, and has no time to look for counters
		for _, method := range blob.Methods {
			known[method] = operation{requests.WithLabelValues(place, method), duration.WithLabelValues(place, method)}
		}
		return func(method string, took time.Duration, err error) {
			known[method].requests.Inc()
			known[method].duration.Observe(took.Seconds())
			if fault := blob.FaultOf(err); fault != "" {
				faults.WithLabelValues(place, method, string(fault)).Inc()
			}
		}
	}
}

// preload sets the number of targets by state.
func (m *Metrics) preload(waiting, done, failed int) {
	m.targets.WithLabelValues("waiting").Set(float64(waiting))
	m.targets.WithLabelValues("done").Set(float64(done))
	m.targets.WithLabelValues("failed").Set(float64(failed))
}

// Count is a sink that counts builds. One that is tried again, as a disk was full, is one.
func (m *Metrics) Count(e event.Event) {
	switch e.Type {
	case event.StepEnded:
		m.steps.WithLabelValues(e.Step.String()).Observe(e.Duration.Seconds())
	case event.Finished:
		m.finished.Store(e.Job, e)
	case event.Stored, event.Failed:
		if finished, ok := m.finished.LoadAndDelete(e.Job); ok { // else it was kept, or no engine came to it
			m.count(finished.(event.Event))
		}
	}
}

func (m *Metrics) count(e event.Event) {
	result := success
	if e.Failure != nil {
		result = failure
	}
	m.builds.WithLabelValues(result).Inc()
	m.buildDuration.Observe(e.Duration.Seconds())
	m.k6build.builds.Inc()
	if e.Failure == nil {
		m.k6build.buildDuration.Observe(e.Duration.Seconds())
		return
	}
	m.k6build.failed.Inc()
	m.failures.WithLabelValues(e.Failure.Kind.String()).Inc()
}

func (m *Metrics) observe(w *response, duration time.Duration) {
	outcome := w.outcome
	if outcome == "" {
		outcome = "other"
	}
	m.requests.WithLabelValues(outcome).Inc()
	m.duration.WithLabelValues(outcome).Observe(duration.Seconds())
}

// metricsPath is where the metrics are. Requests for them are neither counted nor logged.
const metricsPath = "/metrics"

// serve answers GET of /metrics.
func (m *Metrics) serve(w *response, r *http.Request) error {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

func requestBuckets() []float64 {
	return []float64{.0001, .001, .01, .1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900}
}

func buildBuckets() []float64 {
	return []float64{1, 2, 3, 5, 10, 20, 40, 60, 90, 120, 180, 300, 600, 900}
}

// k6buildMetrics are the counters that dashboards of k6build read (docs/contracts.md, section 4). They count what k6build counts: requests
// for builds that could be read, and the time of those that went well.
type k6buildMetrics struct {
	requests, hits, builds, failed, invalid prometheus.Counter
	duration, buildDuration                 prometheus.Histogram
}

func newK6buildMetrics(registry *prometheus.Registry) k6buildMetrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "k6build", Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "k6build", Name: name, Help: help, Buckets: buckets})
		registry.MustRegister(h)
		return h
	}
	return k6buildMetrics{
		requests: counter("requests_total", "Requests for builds."),
		hits:     counter("object_store_hits_total", "Requests for builds answered from the store."),
		builds:   counter("builds_total", "Builds that have ended, well or not."),
		failed:   counter("builds_failed_total", "Builds that failed."),
		invalid:  counter("builds_invalid_total", "Requests that nothing can be built for."),
		duration: histogram("request_duration_seconds", "Time of a request for a build that went well.", []float64{.1, .5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300}),
		buildDuration: histogram("build_duration_seconds", "Time of a build that went well, without its wait in the queue.",
			[]float64{1, 5, 10, 20, 30, 45, 60, 75, 90, 105, 120, 300}),
	}
}

// request counts a request for a build.
func (m k6buildMetrics) request(duration time.Duration, err error) {
	m.requests.Inc()
	if err == nil {
		m.duration.Observe(duration.Seconds())
	} else if unsatisfied(k6x.KindOf(err)) {
		m.invalid.Inc()
	}
}

package app

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"k6x/cmd/internal/tracing"
)

// What a request waits for is one trace: the request, resolve, and the build with its parts.
func TestARequestAndItsBuildAreOneTrace(t *testing.T) {
	var mu sync.Mutex
	traces := make(map[string]map[string]bool) // the names of the spans of each trace
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		sent := new(coltrace.ExportTraceServiceRequest)
		if err == nil {
			err = proto.Unmarshal(body, sent)
		}
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range sent.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					id := string(span.TraceId)
					if traces[id] == nil {
						traces[id] = make(map[string]bool)
					}
					traces[id][span.Name] = true
				}
			}
		}
	}))
	t.Cleanup(collector.Close)
	sender, err := tracing.New(t.Context(), "k6x", collector.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	base, _ := run(t, Options{CacheDir: warmDir(t), Wrap: sender.Wrap, Events: sender.Sink()})
	if status, body, _ := get(t, base+"/linux/amd64/k6@v1.1.0"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	sender.Close()
	mu.Lock()
	defer mu.Unlock()
	for _, names := range traces {
		if names["build"] {
			for _, want := range []string{"GET", "resolve", "fetch", "compile", "link", "store"} {
				if !names[want] {
					t.Errorf("%s is not in the trace: %v", want, names)
				}
			}
			return
		}
	}
	t.Errorf("no build in %v", traces)
}

package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"k6x"
	"k6x/event"
)

// collector is one of OTLP over gRPC, as k6build names it.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	got chan []byte
}

func (c collector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.got <- []byte(r.String())
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func TestTracesGoOverGRPCWhereThereIsNoURL(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	server, c := grpc.NewServer(), collector{got: make(chan []byte, 10)}
	coltrace.RegisterTraceServiceServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	tracing, err := New(t.Context(), "k6build", listener.Addr().String(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/store/one", nil)
	r.Header.Set("Authorization", "Bearer very-secret")
	tracing.Wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	tracing.Close()
	select {
	case sent := <-c.got:
		if !bytes.Contains(sent, []byte("k6build")) || bytes.Contains(sent, []byte("secret")) {
			t.Errorf("sent %s", sent)
		}
	default:
		t.Error("nothing was sent")
	}
}

// A build is below the request that began it, and has its parts below it.
func TestBuildsAreTraced(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	tracing := &Tracing{provider: provider, builds: make(map[string]*build)}
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	at := time.Unix(1_000_000_000, 0)
	for i, e := range []event.Event{
		{Type: event.Resolved, Trace: parent}, {Type: event.Queued}, {Type: event.Started}, {Type: event.StepBegun, Step: event.Linking},
		{Type: event.Progress, Step: event.Linking}, {Type: event.StepEnded, Step: event.Linking}, {Type: event.Finished},
		{Type: event.Failed, Failure: k6x.Errorf(k6x.NoSpace, "full"), Requests: 2},
	} {
		e.Job, e.Path, e.Time = "7b1d9a1e", "/linux/amd64/k6@v1.8.1", at.Add(time.Duration(i)*time.Second)
		tracing.Sink().Send(e)
	}
	if len(tracing.builds) != 0 {
		t.Error("a build that has ended is kept")
	}
	var got []string
	whole := spans.GetSpans()[len(spans.GetSpans())-1]
	for _, s := range spans.GetSpans() {
		got = append(got, fmt.Sprintf("%s %d-%d", s.Name, s.StartTime.Unix()-at.Unix(), s.EndTime.Unix()-at.Unix()))
		if s.Name != "build" && s.Parent.SpanID() != whole.SpanContext.SpanID() {
			t.Errorf("%s is not below the build", s.Name)
		}
	}
	if want := []string{"queue 1-2", "link 3-5", "store 6-7", "build 0-7"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if whole.Parent.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || whole.Status.Code != codes.Error || whole.Status.Description != "no_space" {
		t.Errorf("build: %+v", whole)
	}
	if id := whole.Attributes[0]; id.Key != "k6x.build" || id.Value.AsString() != "7b1d9a1e" {
		t.Errorf("attribute: %v", id)
	}
}

func TestRequestsAreTracedAndTokensAreNot(t *testing.T) {
	got := make(chan []byte, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- append([]byte(r.URL.Path+" "), body...)
	}))
	t.Cleanup(collector.Close)
	tracing, err := New(t.Context(), "k6build", collector.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/build", nil)
	r.Header.Set("Authorization", "Bearer very-secret")
	tracing.Wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	tracing.Close()
	select {
	case sent := <-got:
		if !bytes.HasPrefix(sent, []byte("/v1/traces ")) || !bytes.Contains(sent, []byte("k6build")) || bytes.Contains(sent, []byte("secret")) {
			t.Errorf("sent %q", sent)
		}
	default:
		t.Error("nothing was sent")
	}
}

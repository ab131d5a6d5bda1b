package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
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
	tracing, err := newTracing(t.Context(), listener.Addr().String(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/store/one", nil)
	r.Header.Set("Authorization", "Bearer very-secret")
	tracing.wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	tracing.close()
	select {
	case sent := <-c.got:
		if !bytes.Contains(sent, []byte("k6build")) || bytes.Contains(sent, []byte("secret")) {
			t.Errorf("sent %s", sent)
		}
	default:
		t.Error("nothing was sent")
	}
}

func TestRequestsAreTracedAndTokensAreNot(t *testing.T) {
	got := make(chan []byte, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- append([]byte(r.URL.Path+" "), body...)
	}))
	t.Cleanup(collector.Close)
	tracing, err := newTracing(t.Context(), collector.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/build", nil)
	r.Header.Set("Authorization", "Bearer very-secret")
	tracing.wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	tracing.close()
	select {
	case sent := <-got:
		if !bytes.HasPrefix(sent, []byte("/v1/traces ")) || !bytes.Contains(sent, []byte("k6build")) || bytes.Contains(sent, []byte("secret")) {
			t.Errorf("sent %q", sent)
		}
	default:
		t.Error("nothing was sent")
	}
}

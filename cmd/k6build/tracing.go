package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"k6x/cmd/internal/cli"
)

// tracing sends a trace of each request to a collector. The zero value sends none.
type tracing struct {
	provider *sdktrace.TracerProvider
	logger   *slog.Logger
}

// otelFlag adds the flag for where traces are sent.
func otelFlag(f *pflag.FlagSet, endpoint *string) {
	f.StringVar(endpoint, "otel-endpoint", "",
		"`HOST:PORT` that traces are sent to as OTLP over gRPC, such as localhost:4317, or the URL of a collector for OTLP over HTTP (default none are made)")
}

// newTracing sends traces to endpoint; without one none are made. A collector that does not answer holds up no request.
func newTracing(ctx context.Context, endpoint string, logger *slog.Logger) (*tracing, error) {
	if endpoint == "" {
		return &tracing{}, nil
	}
	exporter, err := newExporter(ctx, endpoint)
	if err != nil {
		return nil, cli.Usage(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("k6build"))))
	return &tracing{provider, logger}, nil
}

func newExporter(ctx context.Context, endpoint string) (sdktrace.SpanExporter, error) {
	if host, port, err := net.SplitHostPort(endpoint); err == nil && host != "" && port != "" && !strings.Contains(endpoint, "/") {
		return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure())
	}
	u, err := cli.ParseURL("otel-endpoint", endpoint, "the address of a collector, such as localhost:4317 or http://localhost:4318")
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
}

// wrap traces the requests to next.
func (t *tracing) wrap(next http.Handler) http.Handler {
	if t.provider == nil {
		return next
	}
	return otelhttp.NewHandler(next, "request", otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}))
}

// close sends the traces that were not sent yet.
func (t *tracing) close() {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("the last traces were not sent", "error", err)
	}
}

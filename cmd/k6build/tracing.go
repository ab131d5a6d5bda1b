package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"k6x/cmd/internal/cli"
)

// tracing sends a trace of each request to a collector.
type tracing struct {
	provider *sdktrace.TracerProvider
	logger   *slog.Logger
}

// newTracing sends traces to endpoint, as OTLP over HTTP. A collector that does not answer
// holds up no request.
func newTracing(ctx context.Context, endpoint string, logger *slog.Logger) (*tracing, error) {
	u, err := cli.ParseURL("otel-endpoint", endpoint, "the URL of a collector, such as http://localhost:4318")
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, &cli.UsageError{Err: err}
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("k6build"))))
	return &tracing{provider, logger}, nil
}

// wrap traces the requests to next.
func (t *tracing) wrap(next http.Handler) http.Handler {
	return otelhttp.NewHandler(next, "request", otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}))
}

// close sends the traces that were not sent yet.
func (t *tracing) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("the last traces were not sent", "error", err)
	}
}

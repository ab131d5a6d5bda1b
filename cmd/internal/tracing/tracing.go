// Package tracing sends traces of requests, and of the builds that they begin, to a collector of OpenTelemetry.
//
// Files: tracing.go has the collector and requests, builds.go the spans of builds.
package tracing

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
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

// Tracing sends a trace of each request to a collector. The zero value sends none.
type Tracing struct {
	provider *sdktrace.TracerProvider
	logger   *slog.Logger

	mu     sync.Mutex // guards what follows
	builds map[string]*build
}

// AddFlag adds the flag for where traces are sent.
func AddFlag(f *pflag.FlagSet, endpoint *string) {
	f.StringVar(endpoint, "otel-endpoint", "",
		"`HOST:PORT` that traces are sent to as OTLP over gRPC, such as localhost:4317, or the URL of a collector for OTLP over HTTP (default none are made)")
}

// New sends traces of a program to endpoint; without one none are made. A collector that does not answer holds up no request.
//
// Errors: a [cli.UsageError] for an endpoint that is none.
func New(ctx context.Context, program, endpoint string, logger *slog.Logger) (*Tracing, error) {
	if endpoint == "" {
		return &Tracing{}, nil
	}
	exporter, err := newExporter(ctx, endpoint)
	if err != nil {
		return nil, cli.Usage(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName(program))))
	return &Tracing{provider: provider, logger: logger, builds: make(map[string]*build)}, nil
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

// Wrap traces the requests to next.
func (t *Tracing) Wrap(next http.Handler) http.Handler {
	if t.provider == nil {
		return next
	}
	return otelhttp.NewHandler(next, "request", otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}))
}

// Close sends the traces that were not sent yet.
func (t *Tracing) Close() {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("the last traces were not sent", "error", err)
	}
}

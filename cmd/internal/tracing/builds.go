package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"k6x/event"
)

// build has the spans of a build under way.
type build struct {
	context.Context // with the span of the whole
	whole, part     trace.Span
}

// parts are the names of the spans of steps.
var parts = map[event.Step]string{
	event.Preparing: "prepare", event.Pulling: "pull", event.Fetching: "fetch", event.Compiling: "compile", event.Linking: "link", event.Checking: "check",
}

// Sink takes the events of builds, which become spans below that of the request that has begun the build: queue, the steps, store. Nil if no traces
// are made.
func (t *Tracing) Sink() event.Sink {
	if t.provider == nil {
		return nil
	}
	return t.publish
}

func (t *Tracing) publish(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.builds[e.Job]
	switch {
	case e.Type == event.Resolved:
		t.builds[e.Job] = t.begin(e)
	case b == nil:
	case e.Type == event.Queued:
		t.next(b, "queue", e)
	case e.Type == event.Started:
		t.next(b, "", e)
	case e.Type == event.StepBegun:
		t.next(b, parts[e.Step], e)
	case e.Type == event.StepEnded:
		t.next(b, "", e)
	case e.Type == event.Finished:
		t.next(b, "store", e)
	case e.Type == event.Stored, e.Type == event.Failed:
		t.next(b, "", e)
		if e.Failure != nil {
			b.whole.SetStatus(codes.Error, e.Failure.Kind.String())
		}
		b.whole.SetAttributes(attribute.String("k6x.outcome", string(e.Type)), attribute.Int("k6x.requests", e.Requests))
		b.whole.End(trace.WithTimestamp(e.Time))
		delete(t.builds, e.Job)
	}
}

func (t *Tracing) begin(e event.Event) *build {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": e.Trace})
	b := new(build)
	b.Context, b.whole = t.provider.Tracer("k6x").Start(ctx, "build", trace.WithTimestamp(e.Time),
		trace.WithAttributes(attribute.String("k6x.build", e.Job), attribute.String("k6x.path", e.Path)))
	return b
}

// next ends the part of a build that is under way, and begins the one of that name; "": none.
func (t *Tracing) next(b *build, name string, e event.Event) {
	if b.part != nil {
		b.part.End(trace.WithTimestamp(e.Time))
		b.part = nil
	}
	if name != "" {
		_, b.part = t.provider.Tracer("k6x").Start(b.Context, name, trace.WithTimestamp(e.Time))
	}
}

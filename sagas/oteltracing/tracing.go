package oteltracing

import (
	"context"
	"maps"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
)

// scope names this package to OpenTelemetry.
const scope = "github.com/troupe-go/troupe/sagas/oteltracing"

// Config of New. The zero value is a sound one.
type Config struct {
	// Provider makes the spans. Defaults to the global one.
	Provider trace.TracerProvider
	// Propagator writes and reads the headers. Defaults to W3C Trace Context and
	// Baggage.
	Propagator propagation.TextMapPropagator
}

// Tracing makes the spans of sagas. It may be used concurrently, by many runners.
type Tracing struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
}

// New needs no end: the provider is the caller's to shut down.
func New(cfg Config) *Tracing {
	if cfg.Provider == nil {
		cfg.Provider = otel.GetTracerProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return &Tracing{cfg.Provider.Tracer(scope), cfg.Propagator}
}

// Begin is for sagas.Config.Trace: it makes the span under which all others of an
// instance are.
func (t *Tracing) Begin(ctx context.Context, definition, id string) (headers brokers.Headers) {
	ctx, span := t.tracer.Start(ctx, "start "+definition, trace.WithAttributes(identity(definition, id)...))
	span.End()
	carried := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carried)
	for _, key := range slices.Sorted(maps.Keys(carried)) {
		headers = append(headers, brokers.Header{Key: key, Value: []byte(carried[key])})
	}
	return headers
}

func identity(definition, id string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("troupe.saga.name", definition), attribute.String("troupe.saga.id", id)}
}

// Observe is for sagas.Config.Observe.
func (t *Tracing) Observe(l sagas.Lifecycle) {
	switch l.What {
	case sagas.StepDone, sagas.StepUndone, sagas.StepNotDone, sagas.StepLeft:
		t.end(l, codes.Unset)
	case sagas.AttemptFailed, sagas.OutcomeLost, sagas.GotStuck:
		t.end(l, codes.Error)
	case sagas.AllDone, sagas.AllUndone:
		l.Took = l.At.Sub(l.Began)
		t.end(l, codes.Unset)
	}
}

// end makes the span of what a lifecycle event ends.
func (t *Tracing) end(l sagas.Lifecycle, status codes.Code) {
	name := l.Definition
	attributes := append(identity(l.Definition, l.ID), attribute.Int("troupe.saga.version", l.Version), attribute.String("troupe.saga.status", l.Status.String()))
	if l.Step != "" {
		name = l.Verb.String() + " " + l.Step
		attributes = append(attributes, attribute.String("troupe.saga.step", l.Step), attribute.String("troupe.saga.verb", l.Verb.String()),
			attribute.Int("troupe.saga.attempt", l.Attempt))
	}
	if l.Reason != "" {
		attributes = append(attributes, attribute.String("troupe.saga.reason", l.Reason))
	}
	carried := propagation.MapCarrier{}
	for _, h := range l.Trace {
		carried[h.Key] = string(h.Value)
	}
	ctx := t.propagator.Extract(context.Background(), carried)
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(l.At.Add(-l.Took)), trace.WithAttributes(attributes...))
	if status == codes.Error {
		span.SetStatus(status, l.Reason)
	}
	span.End(trace.WithTimestamp(l.At))
}

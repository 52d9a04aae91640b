package oteltracing

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/troupe-go/troupe/sagas"
)

// scope names this package to OpenTelemetry.
const scope = "github.com/troupe-go/troupe/sagas/oteltracing"

// Config of Observe. The zero value is a sound one.
type Config struct {
	// Provider makes the spans. Defaults to the global one.
	Provider trace.TracerProvider
}

// Observe is for sagas.Config.Observe. It may be called concurrently.
func Observe(cfg Config) func(sagas.Lifecycle) {
	if cfg.Provider == nil {
		cfg.Provider = otel.GetTracerProvider()
	}
	tracer := cfg.Provider.Tracer(scope)
	return func(l sagas.Lifecycle) {
		switch l.What {
		case sagas.StepDone, sagas.StepUndone, sagas.StepNotDone, sagas.StepLeft:
			end(tracer, l, codes.Unset)
		case sagas.AttemptFailed, sagas.OutcomeLost, sagas.GotStuck:
			end(tracer, l, codes.Error)
		case sagas.AllDone, sagas.AllUndone:
			l.Took = l.At.Sub(l.Began)
			end(tracer, l, codes.Unset)
		}
	}
}

// end makes the span of what a lifecycle event ends.
func end(tracer trace.Tracer, l sagas.Lifecycle, status codes.Code) {
	name := l.Definition
	attributes := []attribute.KeyValue{
		attribute.String("troupe.saga.name", l.Definition), attribute.String("troupe.saga.id", l.ID),
		attribute.Int("troupe.saga.version", l.Version), attribute.String("troupe.saga.status", l.Status.String()),
	}
	if l.Step != "" {
		name = l.Verb.String() + " " + l.Step
		attributes = append(attributes, attribute.String("troupe.saga.step", l.Step), attribute.String("troupe.saga.verb", l.Verb.String()),
			attribute.Int("troupe.saga.attempt", l.Attempt))
	}
	if l.Reason != "" {
		attributes = append(attributes, attribute.String("troupe.saga.reason", l.Reason))
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), whole(l))
	_, span := tracer.Start(ctx, name, trace.WithTimestamp(l.At.Add(-l.Took)), trace.WithAttributes(attributes...))
	if status == codes.Error {
		span.SetStatus(status, l.Reason)
	}
	span.End(trace.WithTimestamp(l.At))
}

// whole is the place of an instance's spans in a trace, the same in each process.
func whole(l sagas.Lifecycle) trace.SpanContext {
	sum := sha256.Sum256(fmt.Append(nil, l.Definition, "/", l.ID, "/", l.Began.UTC().Format(time.RFC3339Nano)))
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled, Remote: true,
	})
}

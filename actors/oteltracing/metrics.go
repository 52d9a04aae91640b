package oteltracing

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/troupe-go/troupe/actors"
)

// Sink measures what happens to messages.
type Sink struct {
	system   attribute.KeyValue
	duration metric.Float64Histogram
	consumed metric.Int64Counter
}

// NewSink makes the instruments, for subscriptions on the broker of that name. A
// nil provider is the global one. The error is the provider's.
func NewSink(provider metric.MeterProvider, system string) (*Sink, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scope)
	duration, err1 := meter.Float64Histogram("messaging.process.duration", metric.WithUnit("s"), metric.WithDescription("Duration of processing operation."))
	consumed, err2 := meter.Int64Counter("messaging.client.consumed.messages", metric.WithUnit("{message}"), metric.WithDescription("Number of messages that were delivered to the application."))
	return &Sink{system: semconv.MessagingSystemKey.String(system), duration: duration, consumed: consumed}, errors.Join(err1, err2)
}

// Observe measures an event: it is for actors.Config.Observe.
func (s *Sink) Observe(event actors.Event) {
	switch e := event.(type) {
	case actors.Handled:
		s.ended(&e.Place, e.Attempt, "handled", e.Took, nil)
	case actors.Retried:
		s.ended(&e.Place, e.Attempt, "retried", e.Took, e.Failure.Err)
	case actors.Parked:
		s.ended(&e.Place, e.Attempt, "parked", e.Took, e.Failure.Err)
	case actors.DeadLettered:
		s.ended(&e.Place, e.Failure.Attempt, "dead_lettered", e.Took, e.Failure.Err)
	case actors.Discarded:
		s.ended(&e.Place, e.Failure.Attempt, "discarded", e.Took, e.Failure.Err)
	}
}

func (s *Sink) ended(p *actors.Place, attempt int, outcome string, took time.Duration, err error) {
	attributes := []attribute.KeyValue{
		s.system, semconv.MessagingOperationName("process"), semconv.MessagingDestinationName(p.Topic),
		semconv.MessagingConsumerGroupName(p.Group), attribute.String("troupe.outcome", outcome),
	}
	if err != nil {
		attributes = append(attributes, semconv.ErrorType(err))
	}
	with := metric.WithAttributeSet(attribute.NewSet(attributes...))
	s.duration.Record(context.Background(), took.Seconds(), with)
	if attempt == 1 {
		s.consumed.Add(context.Background(), 1, with)
	}
}

package oteltracing

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// scope names this package to OpenTelemetry.
const scope = "github.com/troupe-go/troupe/actors/oteltracing"

// maxHeader bounds the trace headers that are looked at, in bytes each: they come
// from elsewhere. W3C Baggage allows 8,192.
const maxHeader = 8192

// Config of Middleware and Publisher. The zero value is a sound one.
type Config struct {
	// Provider makes the spans. Defaults to the global one.
	Provider trace.TracerProvider
	// Propagator reads and writes the headers. Defaults to W3C Trace Context and
	// Baggage.
	Propagator propagation.TextMapPropagator
	// Parent makes the publisher's span the parent of an attempt's, rather than
	// linking to it: one trace from end to end, whatever its length.
	Parent bool
}

func (c Config) withDefaults() Config {
	if c.Provider == nil {
		c.Provider = otel.GetTracerProvider()
	}
	if c.Propagator == nil {
		c.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return c
}

// Middleware makes the spans of attempts. Letters have none. Put it outermost, to
// have the time of other middleware in the span.
func Middleware(cfg Config) actors.Middleware {
	cfg = cfg.withDefaults()
	tracer := cfg.Provider.Tracer(scope)
	return func(next actors.Handler) actors.Handler {
		return actors.HandlerFunc(func(ctx *actors.Context) error {
			if ctx.Event() == nil {
				return next.Receive(ctx)
			}
			inner, span := cfg.begin(tracer, ctx)
			defer span.End() // also if the handler panics
			ctx.Carry(injected(inner, cfg.Propagator)...)
			err := ctx.With(inner, func() error { return next.Receive(ctx) })
			fail(span, err)
			return err
		})
	}
}

// begin starts the span of an attempt.
func (c *Config) begin(tracer trace.Tracer, ctx *actors.Context) (context.Context, trace.Span) {
	m := ctx.Event()
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess,
			semconv.MessagingSystemKey.String(ctx.Broker()), semconv.MessagingDestinationName(ctx.Topic()),
			semconv.MessagingDestinationPartitionID(strconv.Itoa(int(ctx.Partition()))),
			semconv.MessagingConsumerGroupName(ctx.Group()), semconv.MessagingMessageBodySize(len(m.Payload)),
			attribute.Int("troupe.attempt", ctx.Attempt()),
		),
		trace.WithAttributes(identity(m, ctx.Broker())...),
	}
	remote := c.Propagator.Extract(ctx.Base(), carrier{&m.Headers})
	published := trace.SpanContextFromContext(remote)
	parent := ctx.Base()
	switch {
	case c.Parent:
		parent = remote
	case published.IsValid():
		options = append(options, trace.WithLinks(trace.Link{SpanContext: published}))
	}
	return tracer.Start(parent, "process "+ctx.Topic(), options...)
}

// identity are the attributes of a message by which it can be found.
func identity(m *brokers.Message, system string) (attributes []attribute.KeyValue) {
	if m.ID != "" {
		attributes = append(attributes, semconv.MessagingMessageID(m.ID))
	}
	if m.CorrelationID != "" {
		attributes = append(attributes, semconv.MessagingMessageConversationID(m.CorrelationID))
	}
	if system == "kafka" {
		attributes = append(attributes, semconv.MessagingKafkaOffset(int(m.Offset)))
	}
	return attributes
}

func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	span.SetStatus(codes.Error, err.Error())
	span.SetAttributes(semconv.ErrorType(err))
}

// injected are the headers that carry the trace of ctx.
func injected(ctx context.Context, p propagation.TextMapPropagator) brokers.Headers {
	var headers brokers.Headers
	p.Inject(ctx, carrier{&headers})
	return headers
}

// carrier shows headers to a propagator.
type carrier struct{ headers *brokers.Headers }

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string {
	if v, ok := c.headers.Get(key); ok && len(v) <= maxHeader {
		return string(v)
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (c carrier) Set(key, value string) { *c.headers = c.headers.With(key, []byte(value)) }

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string {
	keys := make([]string, len(*c.headers))
	for i, h := range *c.headers {
		keys[i] = h.Key
	}
	return keys
}

// Publisher publishes under a span.
type Publisher struct {
	publisher *brokers.Publisher
	system    string
	cfg       Config
	tracer    trace.Tracer
}

// NewPublisher wraps a publisher of a broker. It stays the caller's to close.
func NewPublisher(publisher *brokers.Publisher, broker brokers.Broker, cfg Config) *Publisher {
	cfg = cfg.withDefaults()
	return &Publisher{publisher: publisher, system: broker.Name(), cfg: cfg, tracer: cfg.Provider.Tracer(scope)}
}

// Publish is brokers.Publisher.Publish, with a span for each message, all under
// that of ctx, whose trace the message carries. The messages are not changed.
func (p *Publisher) Publish(ctx context.Context, messages ...brokers.Message) ([]brokers.Receipt, error) {
	sent := make([]brokers.Message, len(messages))
	spans := make([]trace.Span, len(messages))
	for i, m := range messages {
		var inner context.Context
		inner, spans[i] = p.tracer.Start(ctx, "send "+m.Topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend,
			semconv.MessagingSystemKey.String(p.system), semconv.MessagingDestinationName(m.Topic),
			semconv.MessagingMessageBodySize(len(m.Payload)),
		), trace.WithAttributes(identity(&m, "")...))
		m.Headers = m.Headers.Clone()
		p.cfg.Propagator.Inject(inner, carrier{&m.Headers})
		sent[i] = m
	}
	receipts, err := p.publisher.Publish(ctx, sent...)
	for i, span := range spans {
		fail(span, errorOf(err, i))
		span.End()
	}
	return receipts, err
}

// errorOf is what became of one message of a Publish.
func errorOf(err error, index int) error {
	var partial *brokers.PublishError
	if !errors.As(err, &partial) {
		return err
	}
	for _, f := range partial.Failures {
		if f.Index == index {
			return f.Err
		}
	}
	return nil
}

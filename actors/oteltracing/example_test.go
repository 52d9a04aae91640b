package oteltracing_test

import (
	"context"
	"fmt"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/troupe-go/troupe/actors/oteltracing"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// What is published carries the trace that it belongs to.
func Example() {
	spans := tracetest.NewInMemoryExporter()
	cfg := oteltracing.Config{Provider: sdk.NewTracerProvider(sdk.WithSyncer(spans))}
	// and for the handlers: actors.Subscription{Middleware: []actors.Middleware{oteltracing.Middleware(cfg)}, ...}

	broker := memory.New(memory.Config{})
	bare, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		panic(err)
	}
	publisher := oteltracing.NewPublisher(bare, broker, cfg)
	if _, err := publisher.Publish(context.Background(), brokers.Message{Topic: "orders", Payload: []byte("{}")}); err != nil {
		panic(err)
	}
	sent := broker.Server().Messages("orders")[0]
	span := spans.GetSpans()[0]
	fmt.Println(span.Name, span.SpanKind)
	fmt.Println(sent.Headers.Text("traceparent") == fmt.Sprintf("00-%v-%v-01", span.SpanContext.TraceID(), span.SpanContext.SpanID()))
	if err := bare.Close(context.Background()); err != nil {
		panic(err)
	}
	if err := broker.Close(); err != nil {
		panic(err)
	}
	// Output:
	// send orders producer
	// true
}

package oteltracing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/oteltracing"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

var errNoStock = errors.New("no stock")

// traced runs a system that handles an order, the first attempt of which fails,
// and publishes an invoice, which another group handles. It returns the spans.
func traced(t *testing.T, parent bool, observe func(actors.Event)) tracetest.SpanStubs {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	cfg := oteltracing.Config{Provider: provider, Parent: parent}
	broker := memory.New(memory.Config{Partitions: 1})
	defer func() { _ = broker.Close() }()
	bare, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	publisher := oteltracing.NewPublisher(bare, broker, cfg)
	done := make(chan struct{})
	sys, err := actors.NewSystem(actors.Config{Observe: observe},
		actors.Subscription{
			Group: "billing", Broker: broker, Topics: []string{"orders"}, Middleware: []actors.Middleware{oteltracing.Middleware(cfg)},
			Policy: supervision.Policy{Backoff: supervision.Constant(time.Millisecond)},
			Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
				if !trace.SpanContextFromContext(ctx).IsValid() {
					t.Error("the handler has no span in its context")
				}
				if ctx.Attempt() == 1 {
					return errNoStock
				}
				return ctx.Publish("invoices", []byte("{}"))
			})),
		},
		actors.Subscription{
			Group: "mail", Broker: broker, Topics: []string{"invoices"}, Middleware: []actors.Middleware{oteltracing.Middleware(cfg)},
			Actor: actors.Func(func(context.Context, brokers.Message) error { close(done); return nil }),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := sys.Run(ctx)
		ended <- err
	}()
	order := brokers.Message{Topic: "orders", ID: "7", Key: []byte("k"), CorrelationID: "c", Payload: []byte("{}")}
	if _, err := publisher.Publish(ctx, order); err != nil {
		t.Fatal(err)
	}
	if len(order.Headers) != 0 {
		t.Error("Publish changed the message")
	}
	<-done
	stop()
	if err := errors.Join(<-ended, bare.Close(context.Background())); err != nil {
		t.Fatal(err)
	}
	return spans.GetSpans()
}

// said is a span on one line, with its attributes in order.
func said(s tracetest.SpanStub) string {
	var attributes []string
	for _, a := range s.Attributes {
		attributes = append(attributes, string(a.Key)+"="+a.Value.String())
	}
	slices.Sort(attributes)
	return fmt.Sprintf("%s %v %v: %s", s.Name, s.SpanKind, s.Status.Code, strings.Join(attributes, " "))
}

func TestSpans(t *testing.T) {
	spans := traced(t, false, nil)
	const order = "messaging.message.body.size=2 messaging.message.conversation_id=c messaging.message.id=7 messaging.operation.name=process messaging.operation.type=process messaging.system=memory troupe.attempt="
	want := []string{
		"send orders producer Unset: messaging.destination.name=orders messaging.message.body.size=2 messaging.message.conversation_id=c messaging.message.id=7 messaging.operation.name=send messaging.operation.type=send messaging.system=memory",
		"process orders consumer Error: error.type=*errors.errorString messaging.consumer.group.name=billing messaging.destination.name=orders messaging.destination.partition.id=0 " + order + "1",
		"process orders consumer Unset: messaging.consumer.group.name=billing messaging.destination.name=orders messaging.destination.partition.id=0 " + order + "2",
		"process invoices consumer Unset: messaging.consumer.group.name=mail messaging.destination.name=invoices messaging.destination.partition.id=0 messaging.message.body.size=2 messaging.message.conversation_id=c messaging.message.id=7>billing#0 messaging.operation.name=process messaging.operation.type=process messaging.system=memory troupe.attempt=1",
	}
	byName := make(map[string]tracetest.SpanStub)
	for _, s := range spans {
		byName[said(s)] = s
	}
	for _, w := range want {
		if _, ok := byName[w]; !ok {
			var got []string
			for name := range byName {
				got = append(got, name)
			}
			t.Fatalf("no span\n%s\nin\n%s", w, strings.Join(got, "\n"))
		}
	}
	send, first, second, mail := byName[want[0]], byName[want[1]], byName[want[2]], byName[want[3]]
	for attempt, s := range map[string]tracetest.SpanStub{"first": first, "second": second} {
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != send.SpanContext.SpanID() || s.Parent.IsValid() {
			t.Errorf("the %s attempt links to %+v, want the publisher's span", attempt, s.Links)
		}
	}
	if len(mail.Links) != 1 || mail.Links[0].SpanContext.SpanID() != second.SpanContext.SpanID() {
		t.Errorf("the invoice links to %+v, want the attempt that published it", mail.Links)
	}
	if first.Status.Code != codes.Error || first.Status.Description != "no stock" {
		t.Errorf("status %+v", first.Status)
	}
}

// By choice it is one trace.
func TestParent(t *testing.T) {
	traces := make(map[trace.TraceID]bool)
	for _, s := range traced(t, true, nil) {
		traces[s.SpanContext.TraceID()] = true
		if len(s.Links) != 0 {
			t.Errorf("%s has links", s.Name)
		}
	}
	if len(traces) != 1 {
		t.Errorf("%d traces, want 1", len(traces))
	}
}

func TestMetrics(t *testing.T) {
	reader := metric.NewManualReader()
	sink, err := oteltracing.NewSink(metric.NewMeterProvider(metric.WithReader(reader)), "memory")
	if err != nil {
		t.Fatal(err)
	}
	traced(t, false, sink.Observe)
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range data.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, p := range d.DataPoints {
				got = append(got, fmt.Sprintf("%s %s %d: %s", m.Name, m.Unit, p.Count, labels(p.Attributes)))
			}
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				got = append(got, fmt.Sprintf("%s %s %d: %s", m.Name, m.Unit, p.Value, labels(p.Attributes)))
			}
		}
	}
	slices.Sort(got)
	const of = "messaging.operation.name=process messaging.system=memory "
	want := []string{
		"messaging.client.consumed.messages {message} 1: error.type=*errors.errorString messaging.consumer.group.name=billing messaging.destination.name=orders " + of + "troupe.outcome=retried",
		"messaging.client.consumed.messages {message} 1: messaging.consumer.group.name=mail messaging.destination.name=invoices " + of + "troupe.outcome=handled",
		"messaging.process.duration s 1: error.type=*errors.errorString messaging.consumer.group.name=billing messaging.destination.name=orders " + of + "troupe.outcome=retried",
		"messaging.process.duration s 1: messaging.consumer.group.name=billing messaging.destination.name=orders " + of + "troupe.outcome=handled",
		"messaging.process.duration s 1: messaging.consumer.group.name=mail messaging.destination.name=invoices " + of + "troupe.outcome=handled",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func labels(set attribute.Set) string {
	var all []string
	for _, a := range set.ToSlice() {
		all = append(all, string(a.Key)+"="+a.Value.String())
	}
	return strings.Join(all, " ")
}

// A publish that fails is a failed span.
func TestFailedSend(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	broker := memory.New(memory.Config{})
	defer func() { _ = broker.Close() }()
	broker.Server().FailPublishes(1, brokers.ErrTooLarge)
	bare, err := broker.Publisher(brokers.PublisherConfig{Order: brokers.OrderNone})
	if err != nil {
		t.Fatal(err)
	}
	p := oteltracing.NewPublisher(bare, broker, oteltracing.Config{Provider: sdk.NewTracerProvider(sdk.WithSyncer(spans))})
	_, err = p.Publish(t.Context(), brokers.Message{Topic: "t", Payload: []byte("1")}, brokers.Message{Topic: "t", Payload: []byte("2")})
	if !errors.Is(err, brokers.ErrTooLarge) {
		t.Fatal(err)
	}
	failed := 0
	for _, s := range spans.GetSpans() {
		if s.Status.Code == codes.Error {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d spans failed, want 1", failed)
	}
	if err := bare.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

package oteltracing_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/troupe-go/troupe/actors"
	messagetracing "github.com/troupe-go/troupe/actors/oteltracing"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox"
	outboxsqlite "github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/oteltracing"
	"github.com/troupe-go/troupe/sagas/sqlite"
)

// A command that goes through the outbox and a broker, its reply and the saga's
// events belong to the trace of who started the saga, as the saga's step does, and
// no span's parent is missing.
func TestCommandAndReplyAreOfTheTrace(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	broker := memory.New(memory.Config{})
	db, err := outboxsqlite.Open(t.Context(), filepath.Join(t.TempDir(), "app.db"), outboxsqlite.Config{})
	must(t, err)
	store, err := sqlite.New(t.Context(), db)
	must(t, err)
	tracing := oteltracing.New(oteltracing.Config{Provider: provider})
	runner, err := sagas.Open(t.Context(), sagas.Config[int]{
		Definitions: []*sagas.Definition[int]{{Name: "trip", Version: 1, Steps: []sagas.Step[int]{{Name: "pay", Kind: sagas.Pivot, Do: send("charges")}}}},
		Store:       store, Name: "me", Replies: "replies", DeadLetters: "dead", Events: "events",
		Trace: tracing.Begin, Observe: tracing.Observe,
	})
	must(t, err)
	relay, err := outbox.NewRelay(outbox.Config{Source: db, Broker: broker})
	must(t, err)
	traced := []actors.Middleware{messagetracing.Middleware(messagetracing.Config{Provider: provider, Parent: true})}
	replies := runner.Subscription("sagas", broker)
	replies.Middleware = traced
	system, err := actors.NewSystem(actors.Config{}, replies, actors.Subscription{
		Group: "cards", Broker: broker, Topics: []string{"charges"}, Middleware: traced,
		Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
			reply, err := sagas.Answer(ctx.Event(), sagas.Accepted, "", nil)
			if err != nil {
				return err
			}
			return ctx.Publish(reply.Topic, reply)
		})),
	})
	must(t, err)
	stop := beside(t, relay.Run, func(ctx context.Context) error { _, err := system.Run(ctx); return err })

	ctx, request := provider.Tracer("test").Start(t.Context(), "POST /trips")
	h, err := runner.Start(ctx, "1", 0)
	must(t, err)
	waiting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if in, err := h.Wait(waiting); err != nil || in.Status != sagas.Completed {
		t.Fatalf("%v, %v", in.Status, err)
	}
	request.End()
	stop()
	must(t, runner.Close())
	trace := request.SpanContext().TraceID()
	if events := broker.Server().Messages("events"); len(events) == 0 || !carries(events[0].Headers, trace.String()) {
		t.Errorf("no events, or of another trace: %+v", events)
	}
	must(t, db.Close())
	must(t, broker.Close())

	parents := make(map[string]string)
	names := make(map[string]string)
	spans := exporter.GetSpans()
	for i := range spans {
		names[spans[i].SpanContext.SpanID().String()] = spans[i].Name
	}
	for i := range spans {
		s := &spans[i]
		if s.SpanContext.TraceID() != trace {
			t.Errorf("%s is of another trace: %v", s.Name, s.Attributes)
		}
		parents[s.Name] = names[s.Parent.SpanID().String()]
	}
	for name, parent := range map[string]string{
		"start trip": "POST /trips", "do pay": "start trip", "trip": "start trip", "process charges": "start trip", "process replies": "start trip",
	} {
		if got, ok := parents[name]; !ok || got != parent {
			t.Errorf("the parent of %q (there: %v) is %q, want %q", name, ok, got, parent)
		}
	}
	if !slices.Contains(spans[1].Attributes, attribute.String("troupe.saga.id", "1")) && !slices.Contains(spans[0].Attributes, attribute.String("troupe.saga.id", "1")) {
		t.Errorf("no saga is named: %+v", spans)
	}
	must(t, provider.Shutdown(t.Context()))
}

func carries(h brokers.Headers, trace string) bool {
	text := h.Text("traceparent")
	return len(text) == 55 && text[3:35] == trace
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// beside runs something until stop is called, which waits for its end.
func beside(t *testing.T, all ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(all))
	for _, run := range all {
		go func() { ended <- run(ctx) }()
	}
	return func() {
		cancel()
		for range all {
			must(t, <-ended)
		}
	}
}

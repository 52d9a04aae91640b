package oteltracing_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/oteltracing"
	"github.com/troupe-go/troupe/sagas/sagatest"
	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func send(topic string) sagas.Action[int] {
	return sagas.Send(time.Minute, func(int) sagas.Command { return sagas.Command{Topic: topic, Type: topic} }, nil)
}

// A saga that goes back is one trace, though a second runner ends it: a span for each
// action and for each attempt that failed, with their times, and one for the whole.
func TestTrace(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	synctest.Test(t, func(t *testing.T) {
		w := sagatest.NewWorld(t, &sagas.Definition[int]{Name: "trip", Version: 1, Steps: []sagas.Step[int]{
			{Name: "seat", Do: send("hold"), Undo: send("free"), Policy: supervision.Policy{MaxAttempts: 2, Backoff: supervision.Constant(time.Second)}},
			{Name: "pay", Kind: sagas.Pivot, Do: send("charge")},
		}})
		tracing := oteltracing.New(oteltracing.Config{Provider: provider})
		w.Config.Trace, w.Config.Observe = tracing.Begin, tracing.Observe
		var silent atomic.Bool
		silent.Store(true)
		w.Answer = func(m *brokers.Message) (sagas.Result, string) {
			switch {
			case silent.CompareAndSwap(true, false):
				return 0, ""
			case m.Topic == "charge":
				<-time.After(10 * time.Second)
				return sagas.Rejected, "expired"
			}
			return sagas.Accepted, ""
		}
		first := w.Open()
		h := w.Start(first, "1", 0)
		<-time.After(65 * time.Second) // the charge is under way
		w.Close(first)
		h, err := w.Open().Find(t.Context(), h.ID())
		if err != nil {
			t.Fatal(err)
		}
		w.Ends(h, sagas.Compensated)
	})
	spans := exporter.GetSpans()
	var got []string
	for i := range spans {
		s := &spans[i]
		text := fmt.Sprint(s.Name, " ", s.EndTime.Sub(s.StartTime))
		if s.Status.Code == codes.Error {
			text += " error: " + s.Status.Description
		}
		got = append(got, text)
		if s.SpanContext.TraceID() != spans[0].SpanContext.TraceID() || i > 0 && s.Parent.SpanID() != spans[0].SpanContext.SpanID() {
			t.Errorf("%s is elsewhere", s.Name)
		}
	}
	want := []string{"start trip 0s", "do seat 1m0s error: no reply in time", "do seat 1m1s", "do pay 10s", "undo seat 0s", "trip 1m11s"}
	if !slices.Equal(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

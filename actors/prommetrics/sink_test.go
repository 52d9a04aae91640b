package prommetrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/prommetrics"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

// A scrape has the names and labels that are promised, and the right counts.
func TestScrape(t *testing.T) {
	registry := prometheus.NewRegistry()
	sink, err := prommetrics.New(prommetrics.Config{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	broker := memory.New(memory.Config{Partitions: 1})
	defer func() { _ = broker.Close() }()
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"good", "flaky", "dead", "void", "stuck"} {
		if _, err := publisher.Publish(t.Context(), brokers.Message{Topic: "orders", ID: key, Key: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	errDead, errVoid, errStuck := errors.New("dead"), errors.New("void"), errors.New("stuck")
	decided := make(chan struct{}, 100)
	count := func(e actors.Event) {
		switch e.(type) {
		case actors.Handled, actors.DeadLettered, actors.Discarded, actors.Parked:
			decided <- struct{}{}
		}
	}
	sys, err := actors.NewSystem(actors.Config{Observe: actors.Observers(sink.Observe, count)}, actors.Subscription{
		Group: "billing", Broker: broker, Topics: []string{"orders"},
		Policy: supervision.Policy{
			Backoff: supervision.Constant(time.Millisecond), DeadLetter: "orders.dead",
			Rules: []supervision.Rule{supervision.On(errDead).DeadLetter(), supervision.On(errVoid).Discard()},
			OnError: func(f supervision.Failure) (supervision.Verdict, bool) {
				return supervision.Verdict{Kind: supervision.Park, After: time.Hour}, errors.Is(f.Err, errStuck)
			},
		},
		Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
			switch {
			case ctx.Key() == "flaky" && ctx.Attempt() == 1:
				return errors.New("once")
			case ctx.Key() == "dead":
				return errDead
			case ctx.Key() == "void":
				return errVoid
			case ctx.Key() == "stuck":
				return errStuck
			}
			return nil
		})),
	})
	if err != nil {
		t.Fatal(err)
	}
	stopWatching, err := sink.Watch(sys)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := sys.Run(ctx)
		ended <- err
	}()
	for range 5 {
		<-decided
	}
	got := scrape(t, registry)
	for _, want := range []string{
		`troupe_messages_processed_total{group="billing",outcome="handled",topic="orders"} 2`,
		`troupe_messages_processed_total{group="billing",outcome="retried",topic="orders"} 1`,
		`troupe_messages_processed_total{group="billing",outcome="parked",topic="orders"} 1`,
		`troupe_messages_processed_total{group="billing",outcome="dead_lettered",topic="orders"} 1`,
		`troupe_messages_processed_total{group="billing",outcome="discarded",topic="orders"} 1`,
		`troupe_process_duration_seconds_count{group="billing",topic="orders"} 6`,
		`troupe_partitions_total{change="assigned",group="billing",topic="orders"} 1`,
		`troupe_consumer_lag{group="billing",partition="0",topic="orders"} 0`,
		`troupe_mailbox_depth{group="billing",partition="0",topic="orders"} 1`,
		`troupe_in_flight{group="billing",partition="0",topic="orders"} 0`,
		`troupe_parked_keys{group="billing",partition="0",topic="orders"} 1`,
		`troupe_gap_messages{group="billing",partition="0",topic="orders"} 0`,
		`troupe_gap_age_seconds{group="billing",partition="0",topic="orders"} 0`,
		`troupe_suspended{group="billing"} 0`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	stopWatching()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := scrape(t, registry); !slices.Contains(got, `troupe_given_back_total{group="billing",topic="orders"} 1`) || slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "troupe_in_flight") }) {
		t.Errorf("after the end:\n%s", strings.Join(got, "\n"))
	}
}

// scrape returns the lines of samples.
func scrape(t *testing.T, registry *prometheus.Registry) (lines []string) {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for line := range bytes.Lines(w.Body.Bytes()) {
		if text := strings.TrimSpace(string(line)); !strings.HasPrefix(text, "#") {
			lines = append(lines, text)
		}
	}
	return lines
}

func TestRegisteredTwice(t *testing.T) {
	cfg := prommetrics.Config{Registerer: prometheus.NewRegistry(), Namespace: "shop"}
	if _, err := prommetrics.New(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := prommetrics.New(cfg); !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
		t.Errorf("New again: %v", err)
	}
}

// What a message costs that was handled.
func BenchmarkObserve(b *testing.B) {
	sink, err := prommetrics.New(prommetrics.Config{Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	var e actors.Event = actors.Handled{Place: actors.Place{Group: "g", Topic: "t"}, Attempt: 1, Took: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		sink.Observe(e)
	}
}

func Example() {
	registry := prometheus.NewRegistry()
	sink, err := prommetrics.New(prommetrics.Config{Registerer: registry})
	if err != nil {
		panic(err)
	}
	config := actors.Config{Observe: sink.Observe} // for NewSystem; then sink.Watch(system)
	config.Observe(actors.Handled{Place: actors.Place{Group: "billing", Topic: "orders"}, Attempt: 1})
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if c := m.GetCounter(); c.GetValue() > 0 {
				fmt.Println(f.GetName(), m.GetLabel()[1].GetValue(), c.GetValue())
			}
		}
	}
	// Output:
	// troupe_messages_processed_total handled 1
}

package prommetrics_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/prommetrics"
)

// scrape returns the metrics as they are shown, by name and labels.
func scrape(registry *prometheus.Registry) (map[string]float64, error) {
	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	values := make(map[string]float64)
	for line := range strings.Lines(recorder.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			return nil, err
		}
		values[line[:at]] = v
	}
	return values, nil
}

// Events are counted, and what waits is shown for as long as the relay leads.
func TestSink(t *testing.T) {
	registry := prometheus.NewRegistry()
	sink, err := prommetrics.New(prommetrics.Config{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	observe := sink.Observe("orders/0")
	for _, e := range []outbox.Event{
		outbox.Leading{Epoch: 1},
		outbox.Published{Messages: 7, Waited: time.Millisecond},
		outbox.Published{Messages: 1, Waited: time.Second},
		outbox.Parked{},
		outbox.Parked{},
		outbox.DeadLettered{},
		outbox.Discarded{},
		outbox.Overflowed{},
		outbox.Lagging{Lag: outbox.Lag{Rows: 5, Aside: 2, Gaps: 3, Oldest: time.Now().Add(-time.Hour)}},
	} {
		observe(e)
	}
	got, err := scrape(registry)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		`troupe_outbox_published_total{source="orders/0"}`:                        8,
		`troupe_outbox_publish_delay_seconds_count{source="orders/0"}`:            2,
		`troupe_outbox_failures_total{outcome="parked",source="orders/0"}`:        2,
		`troupe_outbox_failures_total{outcome="dead_lettered",source="orders/0"}`: 1,
		`troupe_outbox_failures_total{outcome="discarded",source="orders/0"}`:     1,
		`troupe_outbox_failures_total{outcome="overflowed",source="orders/0"}`:    1,
		`troupe_outbox_rows{source="orders/0"}`:                                   5,
		`troupe_outbox_aside_rows{source="orders/0"}`:                             2,
		`troupe_outbox_gaps{source="orders/0"}`:                                   3,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if age := got[`troupe_outbox_oldest_age_seconds{source="orders/0"}`]; age < 3600 || age > 3660 {
		t.Errorf("the oldest is %v s old, want an hour", age)
	}
	observe(outbox.Lagging{})
	if got, err := scrape(registry); err != nil || got[`troupe_outbox_oldest_age_seconds{source="orders/0"}`] != 0 {
		t.Errorf("nothing waits, and the oldest is %v s old, %v", got[`troupe_outbox_oldest_age_seconds{source="orders/0"}`], err)
	}
	observe(outbox.StoodDown{Epoch: 1})
	got, err = scrape(registry)
	if _, shown := got[`troupe_outbox_rows{source="orders/0"}`]; shown || err != nil {
		t.Errorf("a relay that does not lead shows what waits, %v", err)
	}
}

func TestNewTwice(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := prommetrics.New(prommetrics.Config{Registerer: registry, Namespace: "shop"}); err != nil {
		t.Fatal(err)
	}
	_, err := prommetrics.New(prommetrics.Config{Registerer: registry, Namespace: "shop"})
	var registered prometheus.AlreadyRegisteredError
	if !errors.As(err, &registered) {
		t.Errorf("registered twice: %v", err)
	}
}

// A relay's events, and what waits, as a scrape shows them.
func Example() {
	registry := prometheus.NewRegistry()
	sink, err := prommetrics.New(prommetrics.Config{Registerer: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := outbox.Config{Observe: sink.Observe("orders")} // and its Source and Broker
	cfg.Observe(outbox.Lagging{Lag: outbox.Lag{Rows: 3, Oldest: time.Now()}})
	values, err := scrape(registry)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(values[`troupe_outbox_rows{source="orders"}`], "wait")
	// Output: 3 wait
}

package prommetrics_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/prommetrics"
	"github.com/troupe-go/troupe/sagas/sagatest"
	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func send(topic string) sagas.Action[int] {
	return sagas.Send(time.Minute, func(int) sagas.Command { return sagas.Command{Topic: topic, Type: topic} }, nil)
}

// What two sagas are scraped as: one that goes through after a silence, and one that
// goes back and gets stuck on the way.
func TestScrape(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	sink, err := prommetrics.New(prommetrics.Config{Registerer: registry, Buckets: []float64{30, 120}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		once := supervision.Policy{MaxAttempts: 2, Backoff: supervision.Constant(time.Second)}
		w := sagatest.NewWorld(t, &sagas.Definition[int]{Name: "trip", Version: 1, Steps: []sagas.Step[int]{
			{Name: "seat", Do: send("hold"), Undo: send("free"), Policy: once, UndoPolicy: once},
			{Name: "pay", Kind: sagas.Pivot, Do: send("charge"), When: func(n int) bool { return n > 0 }},
			{Name: "tell", Kind: sagas.Retriable, Do: send("tell")},
		}})
		w.Config.Observe = sink.Observe
		var mu sync.Mutex
		silent := map[string]int{"hold": 1, "free": 2} // times
		w.Answer = func(m *brokers.Message) (sagas.Result, string) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case silent[m.Topic] > 0:
				silent[m.Topic]--
				return 0, ""
			case m.Topic == "charge":
				return sagas.Rejected, "expired"
			}
			return sagas.Accepted, ""
		}
		r := w.Open()
		w.Ends(w.Start(r, "1", 0), sagas.Completed)
		h := w.Start(r, "2", 1)
		<-time.After(3 * time.Minute)
		if err := h.Operate(t.Context(), sagas.Retry, "eve", "again"); err != nil {
			t.Fatal(err)
		}
		w.Ends(h, sagas.Compensated)
	})
	const want = `
		# HELP troupe_sagas_ended_total Sagas that have ended, by how.
		# TYPE troupe_sagas_ended_total counter
		troupe_sagas_ended_total{saga="trip",status="compensated"} 1
		troupe_sagas_ended_total{saga="trip",status="completed"} 1
		# HELP troupe_sagas_started_total Sagas that were started.
		# TYPE troupe_sagas_started_total counter
		troupe_sagas_started_total{saga="trip"} 2
		# HELP troupe_sagas_steps_total What became of steps, and attempts that failed.
		# TYPE troupe_sagas_steps_total counter
		troupe_sagas_steps_total{outcome="done",saga="trip",step="seat",verb="do"} 2
		troupe_sagas_steps_total{outcome="done",saga="trip",step="tell",verb="do"} 1
		troupe_sagas_steps_total{outcome="failed",saga="trip",step="seat",verb="do"} 1
		troupe_sagas_steps_total{outcome="failed",saga="trip",step="seat",verb="undo"} 2
		troupe_sagas_steps_total{outcome="passed over",saga="trip",step="pay",verb="nothing"} 1
		troupe_sagas_steps_total{outcome="rejected",saga="trip",step="pay",verb="do"} 1
		troupe_sagas_steps_total{outcome="undone",saga="trip",step="seat",verb="undo"} 1
		# HELP troupe_sagas_stuck_total Times that a saga got stuck.
		# TYPE troupe_sagas_stuck_total counter
		troupe_sagas_stuck_total{saga="trip",step="seat"} 1
		# HELP troupe_sagas_step_duration_seconds From the first attempt at a step to its success.
		# TYPE troupe_sagas_step_duration_seconds histogram
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="seat",verb="do",le="30"} 1
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="seat",verb="do",le="120"} 2
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="seat",verb="do",le="+Inf"} 2
		troupe_sagas_step_duration_seconds_sum{saga="trip",step="seat",verb="do"} 61
		troupe_sagas_step_duration_seconds_count{saga="trip",step="seat",verb="do"} 2
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="seat",verb="undo",le="30"} 1
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="seat",verb="undo",le="120"} 1
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="seat",verb="undo",le="+Inf"} 1
		troupe_sagas_step_duration_seconds_sum{saga="trip",step="seat",verb="undo"} 0
		troupe_sagas_step_duration_seconds_count{saga="trip",step="seat",verb="undo"} 1
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="tell",verb="do",le="30"} 1
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="tell",verb="do",le="120"} 1
		troupe_sagas_step_duration_seconds_bucket{saga="trip",step="tell",verb="do",le="+Inf"} 1
		troupe_sagas_step_duration_seconds_sum{saga="trip",step="tell",verb="do"} 0
		troupe_sagas_step_duration_seconds_count{saga="trip",step="tell",verb="do"} 1
		# HELP troupe_sagas_duration_seconds From the start of a saga to its end.
		# TYPE troupe_sagas_duration_seconds histogram
		troupe_sagas_duration_seconds_bucket{saga="trip",status="compensated",le="30"} 0
		troupe_sagas_duration_seconds_bucket{saga="trip",status="compensated",le="120"} 0
		troupe_sagas_duration_seconds_bucket{saga="trip",status="compensated",le="+Inf"} 1
		troupe_sagas_duration_seconds_sum{saga="trip",status="compensated"} 180
		troupe_sagas_duration_seconds_count{saga="trip",status="compensated"} 1
		troupe_sagas_duration_seconds_bucket{saga="trip",status="completed",le="30"} 0
		troupe_sagas_duration_seconds_bucket{saga="trip",status="completed",le="120"} 1
		troupe_sagas_duration_seconds_bucket{saga="trip",status="completed",le="+Inf"} 1
		troupe_sagas_duration_seconds_sum{saga="trip",status="completed"} 61
		troupe_sagas_duration_seconds_count{saga="trip",status="completed"} 1
	`
	got := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	shown := strings.Split(got.Body.String(), "\n")
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); !slices.Contains(shown, line) {
			t.Errorf("%s is not shown", line)
		}
	}
	if t.Failed() {
		t.Log(got.Body.String())
	}
	if _, err := prommetrics.New(prommetrics.Config{Registerer: registry}); err == nil {
		t.Error("registered twice without an error")
	}
}

package sagas_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/supervision"
)

// The topic of events tells all that happens to a saga that fails, goes back, is
// stuck and is helped out: in order, each once and of one trace, with the reason and
// the state; and the observer is told the same.
func TestEventsOfWhatGoesWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sagas.Step[trip]{Name: "b", Do: local("b", nil), Undo: to("unb"), UndoPolicy: supervision.Policy{MaxAttempts: 1}}
		w := newWorld(t, b, sagas.Step[trip]{Name: "c", Kind: sagas.Pivot, Do: to("c"), Policy: supervision.Policy{Backoff: supervision.Constant(time.Second)}})
		first := true
		w.Answer = func(m *brokers.Message) (sagas.Result, string) {
			switch {
			case m.Topic == "c" && first:
				first = false
				return sagas.Failed, "no route"
			case m.Topic == "c":
				return sagas.Rejected, "sold out"
			}
			return sagas.Rejected, "gone already"
		}
		trace := brokers.Headers{{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}}
		w.Config.Trace = func(context.Context, string, string) brokers.Headers { return trace }
		w.Config.Events = "events"
		var observed []string
		w.Config.Observe = func(l sagas.Lifecycle) { observed = append(observed, string(l.What)) }
		r := w.Open()
		h := w.Start(r, "1", trip{})
		<-time.After(time.Minute)
		if err := h.Operate(t.Context(), sagas.Skip, "eve", "she paid"); err != nil {
			t.Fatal(err)
		}
		w.Ends(h, sagas.Compensated)
		var got, reasons []string
		ids := make(map[string]bool)
		for _, m := range w.Sent() {
			if m.Headers.Text("traceparent") != string(trace[0].Value) {
				t.Errorf("%s to %q has the headers %v", m.ID, m.Topic, m.Headers)
			}
			if m.Topic != "events" {
				continue
			}
			var l struct {
				ID, What, Step, Reason, Who string
				State                       trip
			}
			if err := json.Unmarshal(m.Payload, &l); err != nil {
				t.Fatal(err)
			}
			if l.ID != "1" || string(m.Key) != "1" || m.Headers.Text("type") != l.What || ids[m.ID] {
				t.Errorf("event %q: %+v of %+v", m.ID, l, m.Headers)
			}
			if l.What == string(sagas.StepDone) && (l.Step != "b" || !slices.Equal(l.State.Notes, []string{"b"})) {
				t.Errorf("step done: %+v", l)
			}
			if l.Who != "" && l.Who != "eve" {
				t.Errorf("%s did it", l.Who)
			}
			ids[m.ID] = true
			got = append(got, l.What)
			reasons = append(reasons, l.Reason)
		}
		want := []string{
			"started", "step begun", "step done", "step begun", "attempt failed", "step rejected", "compensating",
			"step begun", "attempt failed", "stuck", "operator", "compensation skipped", "compensated",
		}
		if !slices.Equal(got, want) || !slices.Equal(observed, want) {
			t.Errorf("published %q\nobserved  %q\nwant      %q\nreasons %q", got, observed, want, reasons)
		}
		for _, reason := range []string{"no route", "sold out", "skip: she paid"} {
			if !slices.Contains(reasons, reason) {
				t.Errorf("no %q in %q", reason, reasons)
			}
		}
		w.Close(r)
	})
}

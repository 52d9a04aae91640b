package sagas_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/sagatest"
)

// A crash at each transition, before its commit or after it: a saga that goes
// through, one that goes back and one whose outcome is unknown end as without it,
// and each step is done under one key.
func TestCrashAtEachTransition(t *testing.T) {
	for name, c := range map[string]struct {
		answer sagas.Result // of the last step
		want   []string     // effects by key, once each
	}{
		"goes through": {sagas.Accepted, []string{"trip/1/a/do", "trip/1/b/do", "trip/1/c/do"}},
		"goes back":    {sagas.Rejected, []string{"trip/1/a/do", "trip/1/b/do", "trip/1/b/undo", "trip/1/a/undo"}},
		"is silent":    {0, []string{"trip/1/a/do", "trip/1/b/do", "trip/1/c/undo", "trip/1/b/undo", "trip/1/a/undo"}},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var done []string
			effect := func(key string) {
				mu.Lock()
				defer mu.Unlock()
				if !slices.Contains(done, key) {
					done = append(done, key)
				}
			}
			call := sagas.Call(time.Minute, func(_ context.Context, key string, s trip) (trip, error) {
				effect(key)
				return s, nil
			})
			def := &sagas.Definition[trip]{Name: "trip", Version: 1, Steps: []sagas.Step[trip]{step("a"), {Name: "b", Do: call, Undo: call}, step("c")}}
			crashes := sagatest.EachCrash(t, def, func(w *sagatest.World[trip]) (trip, func(sagatest.Ended[trip])) {
				done = nil
				w.Answer = func(m *brokers.Message) (sagas.Result, string) {
					if m.Topic == "c" && c.answer != sagas.Accepted {
						return c.answer, "no"
					}
					effect(m.CorrelationID)
					return sagas.Accepted, ""
				}
				return trip{}, func(e sagatest.Ended[trip]) {
					if !slices.Equal(done, c.want) {
						t.Errorf("done %q, want %q\n%s", done, c.want, sagatest.Timeline(e.Timeline))
					}
				}
			})
			t.Logf("%d crashes", crashes)
			if crashes < 8 {
				t.Errorf("only %d crashes", crashes)
			}
		})
	}
}

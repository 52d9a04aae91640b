package brokers

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// DoneAll reports each message, in order, and more of them than it takes at a
// time.
func TestDoneAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{SequencedPublish: true}, PublisherConfig{})
		var ids []string
		for i := range 2*doneTogether + 1 {
			ids = append(ids, fmt.Sprintf("a%d", i))
		}
		publish(t, p, n, ids...)
		synctest.Wait()
		var results []Result
		for i, id := range ids {
			r := Result{Outbound: d.take(t, id), Receipt: Receipt{Offset: int64(i)}}
			if i == 3 {
				r.Receipt, r.Err = Receipt{}, &SendError{Outcome: Refused, Err: errBroken}
			}
			results = append(results, r)
		}
		DoneAll(results)
		DoneAll(nil)
		synctest.Wait()
		if got := n.read(); !slices.Equal(got, ids) {
			t.Errorf("reported %v; want %v", got, ids)
		}
		if !errors.Is(n.errs["a3"], errBroken) || n.errs["a4"] != nil {
			t.Errorf("errors of a3, a4: %v, %v; want the first only", n.errs["a3"], n.errs["a4"])
		}
		defer func() {
			if recover() == nil {
				t.Error("no panic for messages that were reported")
			}
		}()
		DoneAll(results)
	})
}

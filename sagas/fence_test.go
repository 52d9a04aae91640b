package sagas_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/sagas"
)

// A runner that is opened under a name that another one has makes its Calls anew,
// and the other one ends: what its own Calls return changes nothing.
func TestFencedRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := make(chan string)
		allow := make(chan struct{})
		call := sagas.Call(time.Hour, func(ctx context.Context, key string, s trip) (trip, error) {
			calls <- key
			select {
			case <-allow:
				return trip{append(s.Notes, "done")}, nil
			case <-ctx.Done():
				return s, context.Cause(ctx)
			}
		})
		w := newWorld(t, sagas.Step[trip]{Name: "a", Kind: sagas.Pivot, Do: call}, sagas.Step[trip]{Name: "b", Kind: sagas.Retriable, Do: local("b", nil)})
		first := w.Open()
		old := w.Start(first, "1", trip{})
		<-calls
		second := w.Open()
		if key := <-calls; key != "trip/1/a/do" {
			t.Errorf("called with %q", key)
		}
		select {
		case <-first.Done():
			t.Error("the first ended before it wrote anything")
		default:
		}
		if _, err := first.Start(t.Context(), "2", trip{}); !errors.Is(err, sagas.ErrFenced) {
			t.Errorf("start at the first: %v", err)
		}
		<-first.Done()
		if err := first.Err(); !errors.Is(err, sagas.ErrFenced) {
			t.Errorf("the first ended with %v", err)
		}
		if err := old.Cancel(t.Context(), "no"); !errors.Is(err, sagas.ErrFenced) {
			t.Errorf("cancel at the first: %v", err)
		}
		close(allow)
		h, err := second.Find(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if in := w.Ends(h, sagas.Completed); len(in.State.Notes) != 2 {
			t.Errorf("ended as %+v", in)
		}
		if second.Err() != nil {
			t.Errorf("the second ended with %v", second.Err())
		}
		w.Close(first)
		w.Close(second)
		if err := second.Err(); !errors.Is(err, sagas.ErrClosed) {
			t.Errorf("the second ended with %v", err)
		}
	})
}

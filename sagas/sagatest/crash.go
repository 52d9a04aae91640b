package sagatest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/sagas"
)

// errCrash is what a process sees of the store when it has ended.
var errCrash = errors.New("sagatest: the process has ended")

// mortal is a process's view of the store, which ends at a commit: before it, or
// after it and before anybody learns of it.
type mortal struct {
	sagas.Store

	mu    sync.Mutex
	left  int // commits to go; it never ends if that is negative
	after bool
	dead  bool
}

func (m *mortal) Commit(ctx context.Context, by sagas.Seat, units []sagas.Unit) ([]error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, errCrash
	}
	if m.left--; m.left != 0 {
		return m.Store.Commit(ctx, by, units)
	}
	m.dead = true
	if m.after {
		if _, err := m.Store.Commit(ctx, by, units); err != nil {
			return nil, err
		}
	}
	return nil, errCrash
}

func (m *mortal) died() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// Ended is how an instance has ended.
type Ended[S any] struct {
	Instance sagas.Instance[S]
	Timeline []sagas.Entry
	// Done and Undone are the steps that were, in order.
	Done, Undone []string
}

// EachCrash runs a scenario once as it is, and then once for each of its commits with
// a crash before it, and with one after it that keeps its success from the runner; a
// new runner goes on each time. A scenario sets up a world, in a bubble of its own,
// and returns the instance's first state; what it returns as check, if that is not
// nil, is called with how the instance has ended.
//
// It fails unless each run ends as the one without a crash: with its status, with the
// same steps done, and the same ones undone, in reverse of the order in which they
// were done. It returns how many crashes it tried.
func EachCrash[S any](t *testing.T, definition *sagas.Definition[S], scenario func(w *World[S]) (state S, check func(Ended[S]))) (crashes int) {
	t.Helper()
	whole, _ := crashAt(t, definition, scenario, -1, false)
	for _, after := range []bool{false, true} {
		for n := 1; !t.Failed(); n++ {
			got, died := crashAt(t, definition, scenario, n, after)
			if !died {
				break
			}
			crashes++
			if got.Instance.Status != whole.Instance.Status || !slices.Equal(got.Done, whole.Done) || !slices.Equal(got.Undone, whole.Undone) {
				t.Errorf("crash at commit %d (after it: %v): %v, done %q, undone %q; without: %v, %q, %q\nwhat happened:\n%s", n, after,
					got.Instance.Status, got.Done, got.Undone, whole.Instance.Status, whole.Done, whole.Undone, Timeline(got.Timeline))
			}
		}
	}
	return crashes
}

// crashAt is one run, of which the process ends at the nth commit. It returns false
// if there were fewer.
func crashAt[S any](t *testing.T, definition *sagas.Definition[S], scenario func(*World[S]) (S, func(Ended[S])), n int, after bool) (e Ended[S], died bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := NewWorld(t, definition)
		state, check := scenario(w)
		m := &mortal{Store: w.Store, left: n, after: after}
		w.Config.Store = m
		r := w.Open()
		h, err := r.Start(t.Context(), "1", state)
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		if err == nil {
			await(t, m, h)
		}
		if died = m.died(); died {
			w.Close(r)
			w.Config.Store = w.Store
			h = w.Start(w.Open(), "1", state) // who started it does not know whether that was stored
		}
		e = w.ended(h)
		if !inReverse(definition, e.Undone) {
			t.Errorf("undone %q, which is not in reverse", e.Undone)
		}
		if check != nil {
			check(e)
		}
	})
	return e, died
}

// await waits until the instance has ended, or the process.
func await[S any](t *testing.T, m *mortal, h *sagas.Handle[S]) {
	t.Helper()
	for !m.died() {
		in, err := h.Query(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in.Status.Ended() {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// ended waits for the end.
func (w *World[S]) ended(h *sagas.Handle[S]) (e Ended[S]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	e.Instance, err = h.Wait(ctx)
	e.Timeline = w.log(h)
	e.Done, e.Undone = stepsOf(e.Timeline, sagas.StepDone), stepsOf(e.Timeline, sagas.StepUndone)
	if err != nil {
		w.t.Fatalf("%s is %v (%s), %v\nwhat happened:\n%s", h.ID(), e.Instance.Status, e.Instance.Reason, err, Timeline(e.Timeline))
	}
	return e
}

// inReverse says whether steps come in the reverse of their order.
func inReverse[S any](d *sagas.Definition[S], steps []string) bool {
	last := len(d.Steps)
	for _, step := range steps {
		at := slices.IndexFunc(d.Steps, func(s sagas.Step[S]) bool { return s.Name == step })
		if at >= last {
			return false
		}
		last = at
	}
	return true
}

package sagas_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/sagas"
)

var errCrash = errors.New("the process has ended")

// mortal is a process's view of the store, which ends at a commit: before it, or
// after it and before anybody learns of it.
type mortal struct {
	sagas.Store

	mu    sync.Mutex
	left  int // commits to go
	after bool
	died  chan struct{}
}

func (m *mortal) Commit(ctx context.Context, by sagas.Seat, units []sagas.Unit) ([]error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		return nil, errCrash
	}
	if m.left--; m.left > 0 {
		return m.Store.Commit(ctx, by, units)
	}
	close(m.died)
	if m.after {
		if _, err := m.Store.Commit(ctx, by, units); err != nil {
			return nil, err
		}
	}
	return nil, errCrash
}

// A crash at each transition, before its commit or after it: a saga that goes
// through and one that goes back end as without it, each step is done under one
// key, and compensation comes in reverse.
func TestCrashAtEachTransition(t *testing.T) {
	for _, rejected := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			crashes := 0
			for n := 1; ; n++ {
				died := false
				synctest.Test(t, func(t *testing.T) { died = crashAt(t, n, after, rejected) })
				if !died {
					break
				}
				crashes++
			}
			if crashes < 4 {
				t.Errorf("only %d crashes (rejected %v, after the commit %v)", crashes, rejected, after)
			}
		}
	}
}

// crashAt runs one saga and ends its runner at the nth commit. It returns false if
// there were fewer.
func crashAt(t *testing.T, n int, after, rejected bool) bool {
	var mu sync.Mutex
	var done []string // effects by key, once each
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
	w := newWorld(t, step("a"), sagas.Step[trip]{Name: "b", Do: call, Undo: call}, sagas.Step[trip]{Name: "c", Kind: sagas.Pivot, Do: to("c")})
	w.answer = func(m *brokers.Message) (sagas.Result, string) {
		if m.Topic == "c" && rejected {
			return sagas.Rejected, "no"
		}
		effect(m.CorrelationID)
		return sagas.Accepted, ""
	}
	m := &mortal{Store: w.store, left: n, after: after, died: make(chan struct{})}
	w.cfg.Store = m
	w.over = make(chan struct{})
	r := w.open()
	_, err := r.Start(t.Context(), "1", trip{})
	if err != nil && !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	synctest.Wait()
	died := true
	select {
	case <-m.died:
	default:
		died = false
	}
	w.close(r)
	w.cfg.Store = w.store
	r = w.open()
	h := w.start(r, "1") // who started it does not know whether that was stored
	status, want := sagas.Completed, []string{"trip/1/a/do", "trip/1/b/do", "trip/1/c/do"}
	if rejected {
		status, want = sagas.Compensated, []string{"trip/1/a/do", "trip/1/b/do", "trip/1/b/undo", "trip/1/a/undo"}
	}
	w.ends(h, status)
	close(w.over)
	w.close(r)
	w.wg.Wait()
	if !slices.Equal(done, want) {
		t.Errorf("crash at commit %d: done %q, want %q", n, done, want)
	}
	return died
}

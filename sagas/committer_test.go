package sagas

import (
	"context"
	"sync"
	"testing"
	"time"
)

// slowStore tells of each commit, and has it wait.
type slowStore struct {
	Store

	began   chan int // how many units
	proceed chan struct{}
}

func (s *slowStore) Commit(_ context.Context, _ Seat, units []Unit) ([]error, error) {
	s.began <- len(units)
	<-s.proceed
	return make([]error, len(units)), nil
}

// Units wait for the transaction under way, until there are enough for a second one;
// there is no third.
func TestTwoCommitsAreUnderWay(t *testing.T) {
	s := &slowStore{began: make(chan int, 10), proceed: make(chan struct{})}
	c := committer{store: s, atOnce: 2}
	var callers sync.WaitGroup
	submit := func(n, queued int) {
		t.Helper()
		for range n {
			callers.Go(func() {
				if err := c.commit(t.Context(), Unit{}); err != nil {
					t.Error(err)
				}
			})
		}
		limit := time.Now().Add(time.Minute)
		for waiting := -1; waiting != queued; <-time.After(time.Millisecond) {
			c.mu.Lock()
			waiting = len(c.queue)
			c.mu.Unlock()
			if time.Now().After(limit) {
				t.Fatalf("%d units wait, want %d", waiting, queued)
			}
		}
	}
	began := func(want int) {
		t.Helper()
		if n := <-s.began; n != want {
			t.Errorf("a commit of %d units, want %d", n, want)
		}
	}
	submit(1, 0)
	began(1)
	submit(worthwhile-1, worthwhile-1)
	submit(1, 0)
	began(worthwhile)
	submit(worthwhile+1, worthwhile+1)
	if len(s.began) > 0 {
		t.Errorf("there is a third one, of %d", <-s.began)
	}
	s.proceed <- struct{}{} // either of them ends, and takes what waits
	began(worthwhile + 1)
	submit(1, 1)
	s.proceed <- struct{}{} // one ends, and leaves the one unit to the other
	if len(s.began) > 0 {
		t.Errorf("a second one of %d", <-s.began)
	}
	s.proceed <- struct{}{}
	began(1)
	s.proceed <- struct{}{}
	callers.Wait()
	c.wg.Wait()
	if c.under != 0 {
		t.Errorf("%d are under way after all", c.under)
	}
}

package outbox_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// idle is a source in which there is nothing; it remembers when it was looked at.
type idle struct {
	woken chan struct{}

	mu       sync.Mutex
	looks    []time.Time
	hang     bool // Lease does not answer
	released int
}

func (s *idle) Lease(ctx context.Context, _ string, _ time.Duration) (int64, error) {
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 1, nil
}

func (s *idle) Rows(context.Context, int) ([]outbox.Row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks = append(s.looks, time.Now())
	return nil, nil
}

func (s *idle) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.looks)
}

func (s *idle) Release(context.Context, int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released++
	return nil
}

func (s *idle) Done(context.Context, int64, []int64) error              { return nil }
func (s *idle) Park(context.Context, int64, []outbox.Row) error         { return nil }
func (s *idle) Lanes(context.Context) ([]int64, error)                  { return nil, nil }
func (s *idle) Aside(context.Context, int64, int) ([]outbox.Row, error) { return nil, nil }
func (s *idle) Lag(context.Context) (outbox.Lag, error)                 { return outbox.Lag{}, nil }
func (s *idle) Woken() <-chan struct{}                                  { return s.woken }

// run runs a relay over the source, in virtual time, and tells f of its events.
func (s *idle) run(t *testing.T, f func(events <-chan outbox.Event)) {
	synctest.Test(t, func(t *testing.T) {
		s.woken = make(chan struct{}, 1)
		b := memory.New(memory.Config{})
		defer func() { _ = b.Close() }()
		events := make(chan outbox.Event, 1000)
		r, err := outbox.NewRelay(outbox.Config{Source: s, Broker: b, Observe: func(e outbox.Event) { events <- e }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		f(events)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Looks at an idle source get rarer, from 2 ms to 250 ms; a commit in this process
// brings one at once.
func TestPoll(t *testing.T) {
	s := &idle{}
	s.run(t, func(<-chan outbox.Event) {
		<-time.After(2 * time.Second)
		synctest.Wait()
		var gaps []time.Duration
		for i := range 9 {
			gaps = append(gaps, s.looks[i+1].Sub(s.looks[i]))
		}
		ms := time.Millisecond
		if want := []time.Duration{2 * ms, 4 * ms, 8 * ms, 16 * ms, 32 * ms, 64 * ms, 128 * ms, 250 * ms, 250 * ms}; !slices.Equal(gaps, want) {
			t.Errorf("looked after %v, want %v", gaps, want)
		}
		before := s.count()
		now := time.Now()
		s.woken <- struct{}{}
		synctest.Wait()
		if s.count() != before+1 || !s.looks[before].Equal(now) {
			t.Errorf("%d looks for a commit, at %v; want one at once", s.count()-before, s.looks[len(s.looks)-1])
		}
	})
	if s.released != 1 {
		t.Errorf("the lease was given back %d times, want once", s.released)
	}
}

// A store that does not answer loses the lease a quarter before its end, not after.
func TestLeaseHangs(t *testing.T) {
	s := &idle{}
	s.run(t, func(events <-chan outbox.Event) {
		if e := <-events; e != (outbox.Leading{Epoch: 1}) {
			t.Fatalf("%+v", e)
		}
		since := time.Now()
		s.mu.Lock()
		s.hang = true
		s.mu.Unlock()
		for e := range events {
			if _, ok := e.(outbox.StoodDown); ok {
				break
			}
		}
		if after := time.Since(since); after != 7500*time.Millisecond {
			t.Errorf("it stood down after %v of a lease of 10 s", after)
		}
	})
}

// Faults of a config name the field.
func TestConfig(t *testing.T) {
	b := memory.New(memory.Config{})
	defer func() { _ = b.Close() }()
	for field, cfg := range map[string]outbox.Config{
		"Source":    {Broker: b},
		"Broker":    {Source: &idle{}},
		"Batch":     {Source: &idle{}, Broker: b, Batch: -1},
		"Lease":     {Source: &idle{}, Broker: b, Lease: -1},
		"MaxParked": {Source: &idle{}, Broker: b, MaxParked: -1},
		"LagEvery":  {Source: &idle{}, Broker: b, LagEvery: -1},
		"PollMax":   {Source: &idle{}, Broker: b, PollMin: 2, PollMax: 1},
		"Policy":    {Source: &idle{}, Broker: b, Policy: supervision.Policy{Timeout: -1}},
	} {
		if _, err := outbox.NewRelay(cfg); !errors.Is(err, outbox.ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for field, retention := range map[string]outbox.Retention{
		"Inbox": {},
		"Keep":  {Inbox: nobody{}, Keep: -1},
		"Every": {Inbox: nobody{}, Every: -1},
	} {
		if err := retention.Run(t.Context()); !errors.Is(err, outbox.ErrConfig) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

type nobody struct{}

func (nobody) Prune(context.Context, time.Time) (int64, error) { return 0, nil }

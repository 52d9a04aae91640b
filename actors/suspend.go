package actors

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/supervision"
)

// gate holds a subscription while its infrastructure is down: a breaker, and
// the timer after which one message probes.
type gate struct {
	mu      sync.Mutex
	breaker *supervision.Breaker
	timer   *time.Timer
	open    bool // suspended
	closed  bool // for good
	err     error
	faulty  atomic.Bool // there were faults, too few to suspend
}

// succeeded tells the breaker that the faults were not in a row.
func (g *gate) succeeded() {
	if !g.faulty.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faulty.Store(false)
	g.breaker.Success(time.Now())
}

// suspend pauses the subscription after an infrastructure fault, and lets one
// message at a time find out whether it is over.
func (s *subscription) suspend(f supervision.Failure) {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	g := &s.gate
	g.err = f.Err
	g.breaker.Failure(time.Now())
	if g.closed || g.breaker.State() == supervision.BreakerClosed {
		g.faulty.Store(true)
		return
	}
	if !g.open {
		g.open = true
		s.log.Warn("subscription suspended: infrastructure fault", zap.Error(f.Err))
		s.sys.observe(func() Event { return Suspended{Group: s.cfg.Group, Err: f.Err} })
	}
	s.stopAll(stopSuspended)
	s.scheduleProbe()
}

// scheduleProbe lets a message probe when the breaker's pause is over. The
// gate's lock is held.
func (s *subscription) scheduleProbe() {
	allowed, wait := s.gate.breaker.Next(time.Now())
	if allowed {
		s.gate.breaker.Release()
		wait = 0
	}
	if s.gate.timer == nil {
		s.gate.timer = time.AfterFunc(wait, s.probe)
		return
	}
	s.gate.timer.Reset(wait)
}

// probe runs one message of any region. If none is waiting, the subscription
// goes on: the next one to come is as good a probe.
func (s *subscription) probe() {
	s.gate.mu.Lock()
	if s.gate.closed || !s.gate.open {
		s.gate.mu.Unlock()
		return
	}
	allowed, _ := s.gate.breaker.Next(time.Now())
	if !allowed {
		s.scheduleProbe()
		s.gate.mu.Unlock()
		return
	}
	s.gate.mu.Unlock()
	for _, r := range s.owned() {
		if r.startProbe() {
			return
		}
	}
	s.probed(true)
}

// startProbe runs a turn of one message in spite of the suspension, if a key is
// ready.
func (r *region) startProbe() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stops.Load()&^stopSuspended != 0 || r.sched.first == nil || r.solo {
		return false
	}
	c, chain, _ := r.sched.next(1)
	if !r.hire(turn{cell: c, chain: chain, probe: true}) {
		r.sched.prepend(c, chain, 1)
		r.sched.finish(c, r.now())
		return false
	}
	return true
}

// probed says how the probe went: well, or not at all.
func (s *subscription) probed(well bool) {
	s.gate.mu.Lock()
	if !well {
		s.gate.breaker.Release()
		s.scheduleProbe()
		s.gate.mu.Unlock()
		return
	}
	s.gate.breaker.Success(time.Now())
	s.gate.open, s.gate.err = false, nil
	s.log.Info("subscription resumed")
	s.sys.observe(func() Event { return Resumed{Group: s.cfg.Group} })
	s.gate.mu.Unlock()
	s.startAll(stopSuspended)
}

// shut ends the gate's timer for good.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
}

// suspension is the fault behind the suspension; nil if there is none.
func (g *gate) suspension() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
		return nil
	}
	return g.err
}

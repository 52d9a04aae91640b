package sagas

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// claimLease is how long timers are kept from other runners while they are told.
const claimLease = 10 * time.Second

// expect makes sure that the store is asked for timers by that time.
func (r *Runner[S]) expect(at time.Time) {
	if at.IsZero() {
		return
	}
	r.mu.Lock()
	sooner := r.nextDue.IsZero() || at.Before(r.nextDue)
	if sooner {
		r.nextDue = at
	}
	r.mu.Unlock()
	if sooner {
		select {
		case r.due <- struct{}{}:
		default:
		}
	}
}

// keepTime tells instances of their timers.
func (r *Runner[S]) keepTime() {
	for r.ctx.Err() == nil {
		r.mu.Lock()
		r.nextDue = time.Time{}
		r.mu.Unlock()
		due, next, err := r.cfg.Store.Claim(r.ctx, r.name, time.Now(), claimLease, maxGroup)
		if err != nil && r.ctx.Err() == nil {
			r.log.Warn("saga: timers", zap.Error(err))
		}
		r.fire(due)
		if len(due) == maxGroup {
			continue
		}
		r.expect(next)
		r.sleep()
	}
}

// sleep waits until a timer is due, and no longer than Poll, as others set timers,
// too.
func (r *Runner[S]) sleep() {
	limit := time.Now().Add(r.cfg.Poll)
	for {
		r.mu.Lock()
		until := limit
		if !r.nextDue.IsZero() && r.nextDue.Before(limit) {
			until = r.nextDue
		}
		r.mu.Unlock()
		timer := time.NewTimer(time.Until(until))
		select {
		case <-timer.C:
			return
		case <-r.due:
			timer.Stop()
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// fire tells of timers, and returns when all are told. One that cannot be stored is
// claimed again after the lease.
func (r *Runner[S]) fire(due []Record) {
	now := time.Now()
	var telling sync.WaitGroup
	for i := range due {
		record := &due[i]
		telling.Go(func() {
			for _, timer := range []Timer{record.Timer, {At: record.Deadline}} {
				if timer.At.IsZero() || timer.At.After(now) {
					continue
				}
				if err := r.tell(r.ctx, record.ID, occasion{event: TimerFired{timer}}); err != nil && r.ctx.Err() == nil {
					r.log.Warn("saga: timer", zap.Error(err), zap.String("id", record.ID))
				}
			}
		})
	}
	telling.Wait()
}

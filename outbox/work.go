package outbox

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// begin learns which lanes wait: they are tried at once.
func (r *Relay) begin(ctx context.Context) error {
	lanes, err := r.cfg.Source.Lanes(ctx)
	if err != nil {
		return err
	}
	clear(r.held)
	r.due = time.Time{}
	for _, lane := range lanes {
		r.due = time.Now()
		r.held[lane] = r.due
	}
	return nil
}

// work reads and publishes batches.
func (r *Relay) work(ctx context.Context, epoch int64) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	pause := r.cfg.PollMin
	for ctx.Err() == nil {
		retried, b := &batch{}, &batch{}
		if !r.due.IsZero() && !time.Now().Before(r.due) {
			if err := r.retry(ctx, epoch, retried); err != nil {
				return err
			}
		}
		rows, err := r.cfg.Source.Rows(ctx, r.cfg.Batch)
		if err != nil {
			return err
		}
		r.publish(ctx, r.chains(rows, b), b)
		if err := r.store(ctx, epoch, b); err != nil {
			return err
		}
		done, again := len(retried.done)+len(b.done), retried.again || b.again
		if done+len(b.park) > 0 {
			pause = r.cfg.PollMin
		}
		if again || len(rows) < r.cfg.Batch && done == 0 {
			r.pause(ctx, pause, again)
			pause = min(2*pause, r.cfg.PollMax)
		}
	}
	return nil
}

// store stores what became of a batch.
func (r *Relay) store(ctx context.Context, epoch int64, b *batch) error {
	ctx = context.WithoutCancel(ctx)
	if len(b.done) > 0 {
		r.observe(Published{len(b.done), time.Since(b.oldest)})
		if err := r.cfg.Source.Done(ctx, epoch, b.done); err != nil {
			return err
		}
	}
	if len(b.park) > 0 {
		if err := r.cfg.Source.Park(ctx, epoch, b.park); err != nil {
			return err
		}
	}
	return b.stop
}

// pause waits for the next look: until something was committed, unless what is to
// be tried again has failed, or until a lane is to be tried again.
func (r *Relay) pause(ctx context.Context, d time.Duration, again bool) {
	if again {
		wait(ctx, d, nil)
		return
	}
	if !r.due.IsZero() {
		d = max(0, min(d, time.Until(r.due)))
	}
	wait(ctx, d, r.cfg.Source.Woken())
}

// retry publishes lanes whose time to wait is over, no more rows than a batch has,
// or one lane's. What became of them is stored before anything else, which may fail,
// or be ended: an attempt would not be counted.
func (r *Relay) retry(ctx context.Context, epoch int64, b *batch) error {
	var chains []*chain
	left, now := r.cfg.Batch, time.Now()
	r.due = time.Time{}
	for lane, until := range r.held {
		if now.Before(until) || left <= 0 {
			r.due = earlier(r.due, until)
			continue
		}
		rows, err := r.cfg.Source.Aside(ctx, lane, r.cfg.Batch)
		if err != nil {
			return err
		}
		left -= len(rows)
		chains = append(chains, &chain{lane: lane, rows: rows, aside: true, all: len(rows) < r.cfg.Batch})
	}
	r.publish(ctx, chains, b)
	for _, c := range chains {
		if until, ok := r.held[c.lane]; ok {
			r.due = earlier(r.due, until)
		}
	}
	return r.store(ctx, epoch, b)
}

// watch tells of the lag while the relay leads.
func (r *Relay) watch(ctx context.Context) {
	for ctx.Err() == nil {
		lag, err := r.cfg.Source.Lag(ctx)
		switch {
		case err == nil:
			r.observe(Lagging{lag})
		case ctx.Err() == nil:
			r.log.Warn("outbox relay: the lag cannot be told", zap.Error(err))
		}
		wait(ctx, r.cfg.LagEvery, nil)
	}
}

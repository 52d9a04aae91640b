package sagas

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/supervision"
)

// rejection is what Reject makes.
type rejection struct{ reason string }

func (e *rejection) Error() string { return e.reason }

// Reject is the error of a [Call] that was not done and never will be, for a reason
// of business.
func Reject(reason string) error { return &rejection{reason} }

// carryOut has the cell's Calls made. They hold it until they are told.
func (r *Runner[S]) carryOut(c *cell[S], calls []Request) {
	for _, q := range calls {
		if r.begin() != nil {
			return
		}
		r.mu.Lock()
		c.refs++
		r.mu.Unlock()
		call, state, token := c.def.Steps[q.Step].action(q.Verb).call, c.in.State, c.in.Token
		go func() {
			defer r.wg.Done()
			defer r.release(c)
			r.call(c, q, token, call, state)
		}()
	}
}

// call makes a Call and tells its result.
func (r *Runner[S]) call(c *cell[S], q Request, token uint64, call func(context.Context, string, S) (S, error), state S) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-r.ctx.Done():
		return
	}
	if !r.awaits(c, token) {
		return // it has waited for its slot until it was given up
	}
	ctx, cancel := context.WithTimeout(r.ctx, q.Timeout)
	state, err := protect(ctx, call, q.Key, state)
	cancel()
	if err != nil && r.ctx.Err() != nil {
		return // the next runner makes it again
	}
	e := Replied[S]{Reply: Reply{Key: q.Key, Result: Accepted}, State: &state}
	var rejected *rejection
	switch {
	case errors.As(err, &rejected):
		e = Replied[S]{Reply: Reply{Key: q.Key, Result: Rejected, Reason: rejected.reason}}
	case err != nil:
		e = Replied[S]{Reply: Reply{Key: q.Key, Result: Failed, Reason: err.Error()}}
	}
	for tries := 1; ; tries++ {
		if err = r.tell(context.WithoutCancel(r.ctx), c.id, occasion{event: e}); err == nil {
			return
		}
		after := storeBackoff.Delay(tries, token)
		r.log.Warn("saga: result of a call cannot be stored", zap.Error(err), zap.String("key", q.Key), zap.Duration("retry_in", after))
		if !wait(r.ctx, after) {
			return
		}
	}
}

var storeBackoff = supervision.Exponential(50*time.Millisecond, 5*time.Second)

// awaits says whether the instance is still at the attempt.
func (r *Runner[S]) awaits(c *cell[S], token uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.loaded || c.in.Token == token
}

// protect makes an error of a panic.
func protect[S any](ctx context.Context, call func(context.Context, string, S) (S, error), key string, state S) (result S, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return call(ctx, key, state)
}

// wait returns false if ctx has ended before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

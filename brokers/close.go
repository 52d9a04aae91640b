package brokers

import (
	"context"
	"errors"
	"fmt"
)

// Close stops the intake, waits until all that was accepted is confirmed or
// failed and the callbacks have returned, and releases what the driver holds.
// From its start on Publish, PublishAsync and whoever waits for room get
// [ErrClosed].
//
// When ctx ends first, what was not sent, as far as the driver can tell, is
// withdrawn and NotSent, the rest is Unknown: each is reported as ever, a callback perhaps
// after Close has returned. The error then says how many they were.
//
// Close may be called again, also while another Close waits: the first ctx that
// ends makes all of them give up, and all return the same.
func (p *Publisher) Close(ctx context.Context) error {
	p.stopIntake()
	select {
	case <-p.stopped:
	case <-ctx.Done():
		p.giveUp(fmt.Errorf("%w: %w", ErrClosed, context.Cause(ctx)))
		<-p.stopped // as soon as Send returns, whose context has ended
	}
	p.closeOnce.Do(p.release)
	return p.closeError
}

func (p *Publisher) stopIntake() {
	p.mu.Lock()
	defer p.unlock()
	if p.closing {
		return
	}
	p.closing = true
	p.flushNow = p.unreported > 0
	p.room.refuse(ErrClosed)
}

// giveUp settles all that is not settled, unless the publisher has stopped.
func (p *Publisher) giveUp(cause error) {
	cause = p.stalled(cause)
	p.mu.Lock()
	defer p.unlock()
	if p.hasStopped() || p.whyGivenUp != nil {
		return
	}
	p.whyGivenUp, p.flushNow = cause, false
	p.cancel(cause)
	for _, q := range []*queue{&p.unwaited, &p.waited} {
		for ; q.first != nil; p.givenUp++ {
			p.abandon(q.first, cause)
		}
	}
}

// noteStopped closes stopped once nothing goes on any more. After giveUp that
// is only Send: what the driver has was reported, and a callback may be what
// waits for Close.
func (p *Publisher) noteStopped() {
	if p.closing && !p.hasStopped() && !p.sending &&
		(p.whyGivenUp != nil || p.unreported+p.out+len(p.reports) == 0 && !p.reporting) {
		close(p.stopped)
	}
}

func (p *Publisher) hasStopped() bool {
	select {
	case <-p.stopped:
		return true
	default:
		return false
	}
}

// release is the end of the first Close.
func (p *Publisher) release() {
	p.mu.Lock()
	if p.alarm.timer != nil {
		p.alarm.timer.Stop()
	}
	var err error
	if p.givenUp > 0 {
		err = fmt.Errorf("%d messages not confirmed: %w", p.givenUp, p.whyGivenUp)
	}
	p.mu.Unlock()
	p.cancel(ErrClosed)
	p.closeError = errors.Join(err, p.sender.Close())
}

package brokers

import (
	"context"
	"fmt"
	"slices"
)

// flush waits for the messages that were accepted before it.
type flush struct {
	until uint64 // the last of them
	left  int    // how many are not reported
	done  chan struct{}
}

// Flush waits until all messages that were accepted before are confirmed or
// failed, and the callbacks of those have returned; later ones are not waited
// for. How each fared its callback says. An error means that ctx ended first.
func (p *Publisher) Flush(ctx context.Context) error {
	p.mu.Lock()
	f := &flush{until: p.accepted, left: p.unreported, done: make(chan struct{})}
	if f.left > 0 {
		p.flushes = append(p.flushes, f)
		p.flushNow = true
	} else {
		p.endFlush(f)
	}
	p.unlock()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return p.leaveFlush(f, context.Cause(ctx))
	}
}

// leaveFlush is for a Flush that does not wait any more.
func (p *Publisher) leaveFlush(f *flush, cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-f.done:
		return nil
	default:
	}
	if f.left == 0 {
		return fmt.Errorf("brokers: flush: callbacks have not returned: %w", cause)
	}
	p.flushes = slices.DeleteFunc(p.flushes, func(x *flush) bool { return x == f })
	return fmt.Errorf("brokers: flush: %d messages not confirmed: %w", f.left, cause)
}

// passFlushes tells the flushes that the message of that number was reported.
func (p *Publisher) passFlushes(number uint64) {
	if len(p.flushes) == 0 {
		return
	}
	p.flushes = slices.DeleteFunc(p.flushes, func(f *flush) bool {
		if number <= f.until {
			f.left--
		}
		if f.left == 0 {
			p.endFlush(f)
		}
		return f.left == 0
	})
}

// endFlush lets a flush return once the callbacks before it have.
func (p *Publisher) endFlush(f *flush) {
	if !p.reporting && len(p.reports) == 0 {
		close(f.done)
		return
	}
	p.reports = append(p.reports, callback{done: func(Receipt, error) { close(f.done) }})
}

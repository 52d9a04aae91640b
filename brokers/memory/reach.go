package memory

import (
	"context"

	"github.com/troupe-go/troupe/brokers"
)

var (
	_ brokers.Sender  = (*sender)(nil)
	_ brokers.Staller = (*sender)(nil)
)

// reach waits until the server takes messages, and returns those of the batch
// that somebody still wants to be sent. It reports the others.
func (s *sender) reach(ctx context.Context, batch []*brokers.Outbound) []*brokers.Outbound {
	for held := s.held(); held != nil && len(batch) > 0; held = s.held() {
		if s.conn.server.cfg.Unsequenced && s.conn.down() {
			return giveUp(batch, errDisconnected)
		}
		changed, stop := anyEnds(batch)
		select {
		case <-held:
		case <-changed:
			batch = wanted(batch)
		case <-ctx.Done():
			batch = giveUp(batch, context.Cause(ctx))
		case <-s.conn.gone:
			batch = giveUp(batch, brokers.ErrClosed)
		}
		stop()
	}
	return batch
}

// Stalled implements [brokers.Staller].
func (s *sender) Stalled() error {
	if s.conn.down() {
		return errDisconnected
	}
	if s.held() != nil {
		return errHeld
	}
	return nil
}

// held returns what keeps messages from the server, nil if nothing does.
func (s *sender) held() <-chan struct{} {
	if held, _ := s.conn.link.state(); held != nil {
		return held
	}
	held, _ := s.conn.server.faults.publishes.state()
	return held
}

func (b *Broker) down() bool {
	held, _ := b.link.state()
	return held != nil
}

// anyEnds tells when the context of a message has ended.
func anyEnds(batch []*brokers.Outbound) (ended <-chan struct{}, stop func()) {
	told := make(chan struct{}, 1)
	stops := make([]func() bool, len(batch))
	for i, o := range batch {
		stops[i] = context.AfterFunc(o.Context(), func() { poke(told) })
	}
	return told, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// wanted drops the messages whose context has ended.
func wanted(batch []*brokers.Outbound) []*brokers.Outbound {
	kept := make([]*brokers.Outbound, 0, len(batch))
	for _, o := range batch {
		if o.Context().Err() == nil {
			kept = append(kept, o)
			continue
		}
		notSent(o, context.Cause(o.Context()))
	}
	return kept
}

// giveUp reports the whole batch.
func giveUp(batch []*brokers.Outbound, cause error) []*brokers.Outbound {
	for _, o := range batch {
		notSent(o, cause)
	}
	return nil
}

func notSent(o *brokers.Outbound, cause error) {
	o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.NotSent, Err: cause})
}

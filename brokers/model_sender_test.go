package brokers

import (
	"context"
	"errors"
	"slices"
	"time"
)

// The broker's side of the model: world as a Sender.

func (w *world) Partitions(context.Context, string) (int, error) { return 3, nil }

func (w *world) Send(ctx context.Context, batch []*Outbound) {
	w.enter(batch)
	if w.chance(w.plan.Blocks) {
		select {
		case <-time.After(w.duration(3 * time.Second)):
		case <-ctx.Done():
		}
	}
	if w.plan.Sequenced {
		w.sendInSequence(ctx, slices.Clone(batch))
	} else {
		for _, o := range batch {
			w.attempt(ctx, o)
		}
	}
	w.mu.Lock()
	w.sending = false
	w.mu.Unlock()
}

func (w *world) enter(batch []*Outbound) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sending || w.closed {
		w.faultLocked("Send during Send, or after Close")
	}
	w.sending = true
	w.out += len(batch)
	if w.out > w.plan.InFlight {
		w.faultLocked("%d messages in flight", w.out)
	}
	for _, o := range batch {
		key := string(o.Message.Key)
		w.outKeys[key]++
		if w.plan.Order == OrderPerKey && !w.plan.Sequenced && w.outKeys[key] > 1 {
			w.faultLocked("%d messages of one key in flight", w.outKeys[key])
		}
	}
}

// attempt decides what becomes of one sending, and says it now or later.
func (w *world) attempt(ctx context.Context, o *Outbound) {
	var err error
	switch {
	case ctx.Err() != nil:
		err = notSent(errors.New("sender is to stop"))
	case idOf(o.Message).refused():
		err = &SendError{Outcome: Refused, Err: errors.New("not this one")}
	case w.chance(w.plan.Failures):
		err = w.fail(o)
	default:
		w.store(o)
	}
	if w.chance(30) {
		w.done(o, err)
		return
	}
	time.AfterFunc(w.duration(200*time.Millisecond), func() { w.done(o, err) })
}

func (w *world) fail(o *Outbound) error {
	if w.chance(50) {
		return notSent(errors.New("not stored"))
	}
	if w.chance(50) {
		w.store(o)
	}
	return errors.New("perhaps stored")
}

// sendInSequence is a driver that retries, and confirms in any order. It gives up
// what nobody waits for.
func (w *world) sendInSequence(ctx context.Context, batch []*Outbound) {
	for _, o := range batch {
		var err error
		for w.chance(w.plan.Failures) && err == nil {
			select {
			case <-time.After(w.duration(50 * time.Millisecond)):
			case <-ctx.Done():
				err = notSent(context.Cause(ctx))
			case <-o.Context().Done():
				err = notSent(o.Err())
			}
		}
		switch {
		case err != nil:
		case idOf(o.Message).refused():
			err = &SendError{Outcome: Refused, Err: errors.New("not this one")}
		default:
			w.store(o)
		}
		time.AfterFunc(w.duration(200*time.Millisecond), func() { w.done(o, err) })
	}
}

func (w *world) store(o *Outbound) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := idOf(o.Message)
	w.stored[i.key] = append(w.stored[i.key], i)
	w.times[i]++
}

func (w *world) done(o *Outbound, err error) {
	w.mu.Lock()
	w.out--
	w.outKeys[string(o.Message.Key)]--
	w.mu.Unlock()
	o.Done(Receipt{Topic: o.Message.Topic, Partition: o.Partition}, err)
}

func (w *world) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sending || w.closed {
		w.faultLocked("Flush during Send, or after Close")
	}
}

func (w *world) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sending || w.closed {
		w.faultLocked("Close during Send, or again")
	}
	w.closed = true
	return nil
}

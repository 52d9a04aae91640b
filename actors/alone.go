package actors

import (
	"errors"
	"fmt"
	"reflect"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// OnWithTx registers the handler of broker messages with that type name at a
// [Durable] actor, as [On] does, that works in the transaction in which its state,
// its message's id and what it publishes are stored: T is the transaction of the
// store, such as pgx.Tx or *sql.Tx. What it writes there is stored once, with the
// rest, or not at all. It neither commits nor rolls back, and does not keep tx.
//
// Such a message has a transaction to itself, which is open while the handler
// runs, and begins when the key's messages before it are committed: use it where
// tables of one's own have to change with the state, and [On] for the rest. A
// message that was handled before does not come to the handler. While the
// transaction is open a new owner of the partition waits for it; on SQLite all
// writers do.
//
// NewSystem refuses an actor whose store has no such transactions. OnWithTx panics
// if the name is taken. Letters are not handled by it.
func OnWithTx[A, M, T any](b *Blueprint[A], name string, handle func(a *A, ctx *Context, tx T, m M) error) {
	b.plan.routes.addName(name, &route{
		tx:     reflect.TypeFor[T](),
		decode: decodeAs[M],
		handle: func(instance, message any, ctx *Context) error {
			return handle(instance.(*A), ctx, ctx.tx.(T), message.(M))
		},
	})
}

// validateTx says what the handlers with transactions lack.
func (r *routes) validateTx(d *Durability, fault func(field, format string, args ...any)) {
	if r == nil {
		return
	}
	for name, to := range r.byName {
		if to.tx == nil {
			continue
		}
		if d == nil {
			fault("Actor", "OnWithTx for %q: the actor is not durable", name)
			continue
		}
		store, ok := d.Store.(durable.TxStore)
		switch {
		case d.Store == nil: // said elsewhere
		case !ok:
			fault("Actor", "OnWithTx for %q: %T runs no handlers in its transactions", name, d.Store)
		case store.TxType() != to.tx:
			fault("Actor", "OnWithTx for %q takes a %v, and transactions of %T are a %v", name, to.tx, d.Store, store.TxType())
		}
	}
}

// alone says whether an item's handler works in a transaction of its own.
func (r *region) alone(it *item) bool {
	if it.message == nil || r.sub.plan.durable == nil {
		return false
	}
	to := r.sub.plan.routes.named(r.sub.typeOf(it.message))
	return to != nil && to.tx != nil
}

// handleAlone handles an item in a transaction of its own. The turn ends with it.
func (r *region) handleAlone(w *worker, it *item, attempt int) {
	t := &w.turn
	err := r.fault(t, it)
	if err == nil {
		err = r.begin(w)
	}
	if err == nil {
		w.ctx.reset(t.cell, it, attempt)
		err = r.commitAlone(w.ctx)
	}
	t.reached = true
	if r.sub.sys.cfg.Observe != nil {
		t.stop(r.now())
	}
	var repeated *durable.DuplicateError
	switch {
	case err == nil:
		t.cell.value.(*state).revision++
		r.deliverLetters(w.ctx)
		r.changeTimers(w.ctx)
		t.leave = t.leave || w.ctx.staged.passivate
		r.observe(func() Event { return Handled{r.place(it), attempt, t.took} })
	case errors.As(err, &repeated): // perhaps in an attempt whose answer was lost
		t.discarded = true
	default:
		r.judge(t, it, attempt, err)
	}
}

// commitAlone runs the handler in a transaction. What the store refuses is a fault
// of the message if the store answers.
func (r *region) commitAlone(c *Context) error {
	s, d := c.cell.value.(*state), r.sub.plan.durable
	u := durable.Unit{
		Scope: r.scope, Token: r.token, Key: c.cell.key, Revision: s.revision, Version: d.Version, Handled: []string{c.item.message.ID},
	}
	if c.item.message.ID == "" {
		return supervision.Permanent(ErrNoID)
	}
	var refused error // by the handler
	err := d.Store.(durable.TxStore).CommitTx(c.Base(), u, func(tx any, u *durable.Unit) error {
		c.tx = tx
		defer func() { c.tx = nil }()
		if refused = r.call(c); refused != nil {
			return refused
		}
		u.State, u.Messages = s.encoded, withIDs(c.staged.takeMessages())
		return nil
	})
	if err == nil || refused != nil {
		return refused
	}
	r.finishInstance(c.cell) // its state is not what is stored
	var repeated *durable.DuplicateError
	var fenced *durable.FencedError
	switch {
	case errors.As(err, &repeated):
	case errors.As(err, &fenced):
		r.log.Warn("partition given up: its states have a newer owner", zap.Error(err))
		r.stops.Or(stopEnding)
		r.cancel(fmt.Errorf("%w: %w", brokers.ErrRevoked, err))
	case (&trial{store: d.Store}).commit(nil) != nil:
		err = supervision.Infrastructure(err)
	}
	return err
}

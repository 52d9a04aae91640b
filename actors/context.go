package actors

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// Context is what a Handler knows while it handles one thing, and the means by
// which it acts. It is a context.Context that ends when the partition is taken
// away (cause brokers.ErrRevoked) or the attempt's time is over.
//
// What it does to the outside is staged: [Context.Publish], [Context.Respond],
// [Context.Send], timers, [Context.Passivate] take effect when Receive returns
// nil and are dropped when it returns an error. It is valid only during Receive
// and only in that goroutine, but for its methods of context.Context: what has
// been given it as one (database/sql, net/http) may look at it later and from
// elsewhere. What is to live on by itself gets [Context.Base].
type Context struct {
	base atomic.Pointer[plain]

	region  *region
	cell    *cell
	item    *item
	attempt int
	staged  staged
	stashed bool // Stash was called for the current item
	tx      any  // that the current item is handled in; nil if it has none of its own

	carried     brokers.Headers // for what is published
	correlation string          // of the current item, where its message has none
}

// plain is a context in a struct, to be pointed at.
type plain struct{ context.Context }

// ended is the context of those that handle nothing.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func newContext(r *region, c *cell, it *item) *Context {
	ctx := &Context{region: r, cell: c, item: it}
	ctx.set(r.ctx)
	return ctx
}

func (c *Context) set(base context.Context) { c.base.Store(&plain{base}) }

// Base is the present context.Context without the rest: it may be kept, and ends
// with the partition or the attempt's time.
func (c *Context) Base() context.Context { return c.base.Load().Context }

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.Base().Deadline() }

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} { return c.Base().Done() }

// Err implements context.Context.
func (c *Context) Err() error { return c.Base().Err() }

// Value implements context.Context.
func (c *Context) Value(key any) any { return c.Base().Value(key) }

var _ context.Context = (*Context)(nil)

// Key is the key being handled; "" for the lanes of PerPartition and of keyless
// messages.
func (c *Context) Key() string { return c.cell.key }

// Event is the broker's message being handled; nil for a letter. Its slices may
// be kept only as copies (brokers.Message.Clone).
func (c *Context) Event() *brokers.Message { return c.item.message }

// Letter is the message that was sent to the key's PID, or a lifecycle message
// ([ReceiveTimeout], *actor.Terminated, what [Context.After] was given); nil for
// a broker's message.
func (c *Context) Letter() any {
	if c.item.letter == nil {
		return nil
	}
	return c.item.letter.value
}

// Sender is who sent the letter and may be answered; nil if nobody.
func (c *Context) Sender() *actor.PID {
	if c.item.letter == nil {
		return nil
	}
	return c.item.letter.sender
}

// Self is the key's PID: any actor of the process can reach the key by it.
func (c *Context) Self() *actor.PID { return c.region.pid(c.cell) }

// Attempt is 1 for the first time that this message is handled in this epoch.
func (c *Context) Attempt() int { return c.attempt }

// Group is the subscription's.
func (c *Context) Group() string { return c.region.sub.cfg.Group }

// Topic is the topic of the partition that the key lives in.
func (c *Context) Topic() string { return c.region.part.Topic() }

// Partition is the id of that partition.
func (c *Context) Partition() int32 { return c.region.part.ID() }

// Logger is the system's, with group, topic and partition.
func (c *Context) Logger() *zap.Logger { return c.region.log }

// Broker is the name of the subscription's broker, such as "kafka".
func (c *Context) Broker() string { return c.region.sub.cfg.Broker.Name() }

// ActorSystem is protoactor's, for spawning and sending outside of the key.
func (c *Context) ActorSystem() *actor.ActorSystem { return c.region.sub.sys.actors }

// CorrelationID is the message's own, or what [Correlation] gave it, or else the
// message's ID. What Publish stages has it.
func (c *Context) CorrelationID() string {
	m := c.item.message
	switch {
	case m != nil && m.CorrelationID != "":
		return m.CorrelationID
	case c.correlation != "":
		return c.correlation
	case m != nil:
		return m.ID
	}
	return ""
}

// Carry adds headers to all that this handling publishes from now on, in place
// of those of the same names that it passes on. It is for middleware.
func (c *Context) Carry(headers ...brokers.Header) { c.carried = append(c.carried, headers...) }

// With runs f with a context made of the present one, as middleware does that
// adds a value or a deadline to what the handler sees.
func (c *Context) With(inner context.Context, f func() error) error {
	outer := c.base.Load()
	c.set(inner)
	defer c.base.Store(outer)
	return f()
}

// Passivate ends the key's actor after this message, once nothing waits for it.
// The next message makes a new one. Staged.
func (c *Context) Passivate() { c.staged.passivate = true }

// reset makes the context one for a new item.
func (c *Context) reset(cell *cell, it *item, attempt int) {
	c.cell, c.item, c.attempt = cell, it, attempt
	c.stashed = false
	c.carried, c.correlation = nil, ""
	c.staged.clear()
}

// limited runs f with the policy's time-out on the context, if there is one.
func (c *Context) limited(timeout time.Duration, f func() error) error {
	if timeout <= 0 {
		return f()
	}
	inner, cancel := context.WithTimeoutCause(c.Base(), timeout, ErrAttemptTimeout)
	defer cancel()
	return c.With(inner, f)
}

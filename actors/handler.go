package actors

import (
	"context"

	"github.com/troupe-go/troupe/brokers"
)

// Handler handles what reaches a key: messages of its partition, letters to its
// PID, timers.
//
// Receive is called for one thing at a time per key. Returning nil decides the
// message: what was staged on ctx goes out, and the key's next message may
// start. An error drops what was staged and is judged by the subscription's
// policy; the instance and its state stay. A panic is an error too, and ends
// the instance: the next attempt begins with a new one. A handler therefore
// changes its state last.
//
// ctx is valid only during Receive.
type Handler interface {
	Receive(ctx *Context) error
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx *Context) error

// Receive calls f.
func (f HandlerFunc) Receive(ctx *Context) error { return f(ctx) }

// Middleware wraps a Handler: what it does before and after calling the next
// one surrounds every attempt, and the error it returns is what is judged. It
// surrounds letters and timers too, for which [Context.Event] is nil.
type Middleware func(next Handler) Handler

// Starter is implemented by a key's actor that wants to prepare itself before
// its first message: to load, to set timers. An error or a panic is tried again
// with a new instance after the policy's back-off, for as long as it takes; it
// counts against no message. Stopped is not called for an instance that did not
// start.
type Starter interface {
	Started(ctx *Context) error
}

// Stopper is implemented by a key's actor that holds something. Stopped is
// called once at the end of the instance: passivation, a panic in Receive, the
// end of the epoch, shutdown. A panic in it is logged, and ends the instance all
// the same. What it stages is dropped.
type Stopper interface {
	Stopped(ctx *Context)
}

// Actor says how a subscription's messages are handled: [Func], [Shared],
// [PerKey] or [PerPartition].
type Actor interface {
	blueprint() *blueprint
}

// blueprint is what the runtime needs to know of an Actor.
type blueprint struct {
	// make returns a new instance for a key; nil if there is nothing per key.
	make func(key string) any
	// receive handles what ctx holds with the instance.
	receive func(instance any, ctx *Context) error
	// strict handles a partition as one lane, in offset order.
	strict bool
	// starts and stops say whether instances have the hooks.
	starts, stops bool
	// routes are the typed handlers; nil if there are none.
	routes *routes
	// durable says how the instances' state is kept; nil if it is not.
	durable *Durability
}

type sharedActor struct{ plan blueprint }

func (a *sharedActor) blueprint() *blueprint { return &a.plan }

// Shared handles all keys with one Handler, which must hold no state of a key
// and is called concurrently for different keys.
func Shared(h Handler) Actor {
	return &sharedActor{blueprint{
		receive: func(_ any, ctx *Context) error { return h.Receive(ctx) },
	}}
}

// Func handles all keys with a plain function: the smallest handler. ctx ends
// when the partition is taken away or the attempt's time is over, and carries
// nothing else; m is valid for as long as f runs.
func Func(f func(ctx context.Context, m brokers.Message) error) Actor {
	return &sharedActor{blueprint{
		receive: func(_ any, ctx *Context) error {
			if m := ctx.Event(); m != nil {
				return f(ctx.Base(), *m)
			}
			return &UnhandledError{Value: ctx.Letter()}
		},
	}}
}

// Blueprint makes one *A per key (or per partition) and says which of its
// methods handles what. It is filled with [On], [OnRequest] and [OnTombstone]
// before NewSystem reads it, and not changed afterwards.
//
// If *A implements [Handler], Receive gets everything that no registration
// takes. [Starter] and [Stopper] are honoured.
type Blueprint[A any] struct{ plan blueprint }

func (b *Blueprint[A]) blueprint() *blueprint { return &b.plan }

// PerKey handles each key with an actor of its own, made by the key's first
// message. Its state is a cache: it ends with passivation, a panic and the epoch.
func PerKey[A any](newActor func(key string) *A) *Blueprint[A] {
	return newBlueprint[A](func(key string) any { return newActor(key) }, false)
}

// PerPartition handles a whole partition with one actor, strictly in offset
// order, whatever the keys. A failing message holds all that follow it.
func PerPartition[A any](newActor func() *A) *Blueprint[A] {
	return newBlueprint[A](func(string) any { return newActor() }, true)
}

func newBlueprint[A any](newActor func(key string) any, strict bool) *Blueprint[A] {
	var a any = (*A)(nil)
	_, starts := a.(Starter)
	_, stops := a.(Stopper)
	r := newRoutes()
	return &Blueprint[A]{blueprint{
		make: newActor, strict: strict, starts: starts, stops: stops,
		routes: r, receive: r.receive,
	}}
}

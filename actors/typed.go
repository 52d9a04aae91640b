package actors

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// ErrTombstone is the failure of a message without a payload (nil) at an actor
// that registered nothing with [OnTombstone]. It is permanent: no retries.
var ErrTombstone = errors.New("actors: message is a tombstone")

// routes are the typed handlers of a blueprint.
type routes struct {
	byName    map[string]*route
	byType    map[reflect.Type]*route
	only      *route // if exactly one name is registered
	tombstone func(instance any, ctx *Context) error
}

// route handles one type of message: as payload, and as a letter.
type route struct {
	tx     reflect.Type // of the transaction that it is handled in; nil if in none of its own
	decode func(c Codec, m *brokers.Message) (any, error)
	handle func(instance, message any, ctx *Context) error
}

func newRoutes() *routes {
	return &routes{byName: make(map[string]*route), byType: make(map[reflect.Type]*route)}
}

// On registers the handler of broker messages with that type name, whose
// payload is decoded into an M, and of letters that are an M. It panics if the
// name is taken, as that is a fault of the program.
func On[A, M any](b *Blueprint[A], name string, handle func(*A, *Context, M) error) {
	b.plan.routes.add(name, reflect.TypeFor[M](), &route{
		decode: decodeAs[M],
		handle: func(instance, message any, ctx *Context) error {
			return handle(instance.(*A), ctx, message.(M))
		},
	})
}

// OnRequest registers the handler of requests: letters that are a Q. What it
// returns is staged as the answer to the sender, with the type *P if it returns
// a *P; an error is answered as [*RequestError]. Requests do not come from a
// topic.
func OnRequest[A, Q, P any](b *Blueprint[A], name string, answer func(*A, *Context, Q) (P, error)) {
	b.plan.routes.addLetter(name, reflect.TypeFor[Q](), &route{
		handle: func(instance, message any, ctx *Context) error {
			p, err := answer(instance.(*A), ctx, message.(Q))
			if err != nil {
				return err
			}
			ctx.Respond(p)
			return nil
		},
	})
}

// OnLetter registers the handler of letters that are an L: what other actors
// send to the key's PID, and what its own timers bring. Letters do not come from
// a topic. It panics if L is taken.
func OnLetter[A, L any](b *Blueprint[A], handle func(*A, *Context, L) error) {
	t := reflect.TypeFor[L]()
	b.plan.routes.addLetter(t.String(), t, &route{
		handle: func(instance, letter any, ctx *Context) error {
			return handle(instance.(*A), ctx, letter.(L))
		},
	})
}

// OnTombstone registers the handler of messages without a payload (nil), which
// have no type: on a compacted topic they say that the key is deleted.
func OnTombstone[A any](b *Blueprint[A], handle func(*A, *Context) error) {
	b.plan.routes.tombstone = func(instance any, ctx *Context) error { return handle(instance.(*A), ctx) }
}

func (r *routes) add(name string, t reflect.Type, to *route) {
	r.addName(name, to)
	r.addLetter(name, t, to)
}

func (r *routes) addName(name string, to *route) {
	if _, taken := r.byName[name]; taken {
		panic(fmt.Sprintf("actors: type name %q is registered twice", name))
	}
	r.byName[name] = to
	r.only = to
	if len(r.byName) > 1 {
		r.only = nil
	}
}

// named is the route of a type name; nil if there is none.
func (r *routes) named(name string) *route {
	if to := r.byName[name]; to != nil || name != "" {
		return to
	}
	return r.only
}

func (r *routes) addLetter(name string, t reflect.Type, to *route) {
	if _, taken := r.byType[t]; taken {
		panic(fmt.Sprintf("actors: %q: Go type %v is registered twice", name, t))
	}
	r.byType[t] = to
}

// receive dispatches what ctx holds to its handler.
func (r *routes) receive(instance any, ctx *Context) error {
	if ctx.Event() == nil {
		return r.receiveLetter(instance, ctx)
	}
	m := ctx.Event()
	if m.Payload == nil && len(r.byName) > 0 {
		return r.receiveTombstone(instance, ctx)
	}
	name := ctx.region.sub.typeOf(m)
	to := r.named(name)
	if to == nil {
		if h, ok := instance.(Handler); ok {
			return h.Receive(ctx)
		}
		return supervision.Permanent(&UnhandledError{Type: name})
	}
	v, err := to.decode(ctx.region.sub.cfg.Codec, m)
	if err != nil {
		return supervision.Permanent(fmt.Errorf("actors: decode payload as %q: %w", name, err))
	}
	return to.handle(instance, v, ctx)
}

func (r *routes) receiveTombstone(instance any, ctx *Context) error {
	if r.tombstone != nil {
		return r.tombstone(instance, ctx)
	}
	if h, ok := instance.(Handler); ok {
		return h.Receive(ctx)
	}
	return supervision.Permanent(ErrTombstone)
}

func (r *routes) receiveLetter(instance any, ctx *Context) error {
	v := ctx.Letter()
	if to := r.byType[reflect.TypeOf(v)]; to != nil {
		return to.handle(instance, v, ctx)
	}
	if h, ok := instance.(Handler); ok {
		return h.Receive(ctx)
	}
	switch v.(type) {
	case ReceiveTimeout, *actor.Terminated: // news for who wants it
		return nil
	}
	return &UnhandledError{Value: v}
}

// typeOf is a message's type name.
func (s *subscription) typeOf(m *brokers.Message) string {
	if s.cfg.TypeOf != nil {
		return s.cfg.TypeOf(m)
	}
	if namer, ok := s.cfg.Codec.(interface {
		TypeName(*brokers.Message) string
	}); ok {
		if name := namer.TypeName(m); name != "" {
			return name
		}
	}
	if name := m.Headers.Text("ce_type"); name != "" {
		return name
	}
	return m.Headers.Text("type")
}

package actortest

import (
	"fmt"
	"reflect"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// Inbox is what arrives at one place: the messages of a topic, or the letters of
// a [Probe]. Each expectation takes what comes next, and fails if it is something
// else; only [Fish] passes over.
type Inbox struct {
	story  *story
	codec  actors.Codec
	name   string
	within time.Duration
	holds  func(*entry) bool
	last   *Received // what was taken last
}

// Received is one thing that arrived.
type Received struct {
	// Value is the letter; of a topic, the brokers.Message.
	Value any
	// Sender may be answered; nil if nobody.
	Sender *actor.PID
	// At is when it arrived, in virtual time since the beginning.
	At time.Duration
}

// Within is the inbox with another limit on how long expectations wait.
func (b *Inbox) Within(d time.Duration) *Inbox {
	c := *b
	c.within = d
	return &c
}

// Expect expects that value arrives next. Letters are compared as they are, with
// reflect.DeepEqual. Of a message a []byte is compared with the payload; anything
// else with what the subscription's Codec makes of it, whose type name, if the
// message has one, must be the value's. For all else about a message there is
// [ExpectMatch] with a brokers.Message.
func (b *Inbox) Expect(want any) Received {
	b.story.t.Helper()
	e := b.next(b.within)
	wanted := func() string { return fmt.Sprintf("%s at %s", value(want), b.name) }
	if e == nil {
		b.story.fail(nil, b.within, wanted())
		return Received{}
	}
	got, err := b.as(e, reflect.TypeOf(want))
	if err != nil {
		b.story.failed(e, fmt.Sprintf("%s: %v", e.tell(), err), wanted())
	}
	if !reflect.DeepEqual(got, want) {
		b.story.fail(e, b.within, wanted())
	}
	return *b.last
}

// ExpectNone expects that nothing has arrived that was not taken, and nothing
// does for a while.
func (b *Inbox) ExpectNone(d time.Duration) {
	b.story.t.Helper()
	if e := b.next(d); e != nil {
		b.story.fail(e, d, fmt.Sprintf("nothing at %s for %v", b.name, d))
	}
}

// Receive expects that n things arrive, together within the limit.
func (b *Inbox) Receive(n int) []Received {
	b.story.t.Helper()
	limit := time.Now().Add(b.within)
	all := make([]Received, n)
	for i := range all {
		if e := b.next(time.Until(limit)); e == nil {
			b.story.failed(nil, fmt.Sprintf("%d within %v", i, b.within), fmt.Sprintf("%d at %s", n, b.name))
		}
		all[i] = *b.last
	}
	return all
}

// ExpectType expects that a T arrives next: a letter that is one, or a message
// that decodes as one and whose type name, if it has one, is T's.
func ExpectType[T any](b *Inbox) T {
	b.story.t.Helper()
	return ExpectMatch(b, func(T) bool { return true })
}

// ExpectMatch expects that a T for which match holds arrives next.
func ExpectMatch[T any](b *Inbox, match func(T) bool) T {
	b.story.t.Helper()
	e := b.next(b.within)
	want := fmt.Sprintf("a matching %v at %s", reflect.TypeFor[T](), b.name)
	if e == nil {
		b.story.fail(nil, b.within, want)
	}
	v, err := asType[T](b, e)
	if err != nil {
		b.story.failed(e, fmt.Sprintf("%s: %v", e.tell(), err), want)
	}
	if !match(v) {
		b.story.fail(e, b.within, want)
	}
	return v
}

// Fish passes over what arrives until there is a T for which match holds.
func Fish[T any](b *Inbox, match func(T) bool) T {
	b.story.t.Helper()
	limit := time.Now().Add(b.within)
	for {
		e := b.next(time.Until(limit))
		if e == nil {
			b.story.fail(nil, b.within, fmt.Sprintf("a matching %v, sooner or later, at %s", reflect.TypeFor[T](), b.name))
		}
		if v, err := asType[T](b, e); err == nil && match(v) {
			return v
		}
	}
}

// next waits for what arrives next and takes it; nil if there is nothing.
func (b *Inbox) next(limit time.Duration) *entry {
	e := b.story.next(limit, b.holds)
	if e == nil {
		return nil
	}
	*b.last = Received{At: e.at}
	if l, ok := e.what.(letter); ok {
		b.last.Value, b.last.Sender = l.value, l.sender
	} else {
		b.last.Value = *e.message
	}
	return e
}

func asType[T any](b *Inbox, e *entry) (v T, err error) {
	got, err := b.as(e, reflect.TypeFor[T]())
	if err == nil {
		v = got.(T)
	}
	return v, err
}

// as gives what arrived as a value of a type.
func (b *Inbox) as(e *entry, t reflect.Type) (any, error) {
	if l, ok := e.what.(letter); ok {
		if got := reflect.TypeOf(l.value); t == nil || got == nil || !got.AssignableTo(t) {
			return nil, fmt.Errorf("is a %v", got)
		}
		return l.value, nil
	}
	switch t {
	case reflect.TypeFor[brokers.Message]():
		return *e.message, nil
	case reflect.TypeFor[[]byte]():
		return e.message.Payload, nil
	}
	return decode(b.codec, e.message, t)
}

package actortest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// patience is how long expectations wait unless told otherwise.
const patience = time.Hour

// Scope is a part of the story: what becomes of a group's messages, of all keys
// or one. A kit is the scope of its whole subscription.
//
// Each expectation takes the next entry of its kind, in order, and passes over
// those of other kinds; it waits up to an hour of virtual time, or what
// [Scope.Within] says. It fails, and ends the test, if that entry is not as
// expected or none comes.
type Scope struct {
	story  *story
	server *memory.Server
	codec  actors.Codec
	group  string
	topic  string // of ExpectCommitted
	within time.Duration

	key       *string // nil is all keys
	partition *int32  // nil is all partitions of all topics
}

// Within is the scope with another limit on how long expectations wait.
func (s Scope) Within(d time.Duration) Scope {
	s.within = d
	return s
}

// Key narrows the scope to one key: that of the actor which handles a message,
// and that with which a message is published.
func (s Scope) Key(key string) Scope {
	s.key = &key
	return s
}

// Partition narrows the scope to one partition.
func (s Scope) Partition(topic string, id int32) Scope {
	s.topic, s.partition = topic, &id
	return s
}

// Topic is what is published to a topic, by anybody, from the beginning. With a
// narrowed scope it is what has that key.
func (s Scope) Topic(name string) *Inbox {
	return &Inbox{
		story: s.story, codec: s.codec, name: fmt.Sprintf("topic %q", name), within: s.within, last: new(Received),
		holds: func(e *entry) bool {
			_, is := e.what.(published)
			return is && e.topic == name && s.hasKey(e)
		},
	}
}

// covers says whether an entry is of the scope.
func (s Scope) covers(e *entry) bool {
	if e.group != "" && e.group != s.group {
		return false
	}
	if s.partition != nil && (e.topic != s.topic || e.partition != *s.partition) {
		return false
	}
	return s.hasKey(e)
}

func (s Scope) hasKey(e *entry) bool {
	return s.key == nil || e.key != nil && bytes.Equal(e.key, []byte(*s.key))
}

// whose says of what an expectation spoke.
func (s Scope) whose() string {
	what := ""
	if s.partition != nil {
		what = fmt.Sprintf(" in %s/%d", s.topic, *s.partition)
	}
	if s.key != nil {
		what += fmt.Sprintf(" of key %q", *s.key)
	}
	return what
}

// take waits for the next E in a scope.
func take[E any](s Scope) (what E, e *entry) {
	e = s.story.next(s.within, func(e *entry) bool {
		_, is := e.what.(E)
		return is && s.covers(e)
	})
	if e != nil {
		what = e.what.(E)
	}
	return what, e
}

// expect takes the next E, which ok must hold for.
func expect[E any](s Scope, ok func(E) bool, want string, args ...any) (E, *entry) {
	s.story.t.Helper()
	what, e := take[E](s)
	if e == nil || !ok(what) {
		s.story.fail(e, s.within, fmt.Sprintf(want, args...)+s.whose())
	}
	return what, e
}

func anyOf[E any](E) bool { return true }

// ExpectEvent expects an event of a type of package actors, such as
// actors.PartitionAssigned, Suspended or Overflowed. actors.Acknowledged is told
// of message by message: see [Scope.ExpectAcked].
func ExpectEvent[E actors.Event](s Scope) E {
	s.story.t.Helper()
	what, _ := expect(s, anyOf[E], "an event %T", *new(E))
	return what
}

// ExpectHandled expects that a message is handled: its handler returned nil.
func (s Scope) ExpectHandled() actors.Handled {
	s.story.t.Helper()
	what, _ := expect(s, anyOf[actors.Handled], "a message handled")
	return what
}

// ExpectAcked expects that a message is settled and the broker told so, singly or
// as part of a prefix. [Scope.ExpectCommitted] expects what the broker makes of
// it.
func (s Scope) ExpectAcked() brokers.Message {
	s.story.t.Helper()
	_, e := expect(s, anyOf[acked], "a message acknowledged")
	return *e.message
}

// ExpectRedelivered expects that a message is delivered that was delivered
// before: after a crash, a rebalance or a lost partition.
func (s Scope) ExpectRedelivered() brokers.Message {
	s.story.t.Helper()
	_, e := expect(s, anyOf[redelivered], "a message redelivered")
	return *e.message
}

// ExpectRetried expects that an attempt fails and the next follows after a delay.
// The first attempt is 1.
func (s Scope) ExpectRetried(attempt int, after time.Duration) actors.Retried {
	s.story.t.Helper()
	what, _ := expect(s, func(r actors.Retried) bool { return r.Attempt == attempt && r.After == after },
		"a retry: attempt %d failed, next in %v", attempt, after)
	return what
}

// ExpectParked expects that a message is parked, or stays so after one more
// attempt.
func (s Scope) ExpectParked() actors.Parked {
	s.story.t.Helper()
	what, _ := expect(s, anyOf[actors.Parked], "a key parked")
	return what
}

// ExpectDeadLettered expects that a message's dead letter is confirmed. reason is
// part of the verdict's reason or of the error; "" is any.
func (s Scope) ExpectDeadLettered(reason string) actors.DeadLettered {
	s.story.t.Helper()
	what, _ := expect(s, func(d actors.DeadLettered) bool { return because(d.Reason, d.Failure.Err, reason) },
		"a message dead-lettered because of %q", reason)
	return what
}

// ExpectDiscarded expects that a message is discarded. reason is part of the
// verdict's reason or of the error; "" is any.
func (s Scope) ExpectDiscarded(reason string) actors.Discarded {
	s.story.t.Helper()
	what, _ := expect(s, func(d actors.Discarded) bool { return because(d.Reason, d.Failure.Err, reason) },
		"a message discarded because of %q", reason)
	return what
}

func because(why string, err error, part string) bool {
	return strings.Contains(why, part) || strings.Contains(err.Error(), part)
}

// ExpectPublished expects that the next message to a topic is value: see
// [Inbox.Expect].
func (s Scope) ExpectPublished(topic string, value any) brokers.Message {
	s.story.t.Helper()
	return s.Topic(topic).Expect(value).Value.(brokers.Message)
}

// ExpectSpawned expects that a key spawns a child of that name.
func (s Scope) ExpectSpawned(name string) actors.ChildSpawned {
	s.story.t.Helper()
	what, _ := expect(s, func(c actors.ChildSpawned) bool { return c.Name == name },
		"a child %q spawned", name)
	return what
}

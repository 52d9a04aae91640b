package supervision

import (
	"errors"
	"time"
)

// mark is an error with what its handler knows of it. It is invisible to
// errors.Is and errors.As, and to the text.
type mark struct {
	err    error
	action action
}

func (m *mark) Error() string { return m.err.Error() }
func (m *mark) Unwrap() error { return m.err }

// marked wraps err; nil stays nil, so that a handler may mark what it returns
// without asking first.
func marked(err error, a action) error {
	if err == nil {
		return nil
	}
	return &mark{err: err, action: a}
}

// Permanent marks an error that no retry mends: the message is dead-lettered
// at once, or parked if there is no target. Nil stays nil.
func Permanent(err error) error {
	return marked(err, action{kind: DeadLetter, reason: "permanent"})
}

// RetryAfter marks an error that says itself when to try again, such as a
// Retry-After header. It burns an attempt, and MaxAttempts still bounds it; the
// longest back-off does not. With d <= 0 the policy's back-off holds. Nil stays
// nil.
func RetryAfter(err error, d time.Duration) error {
	return marked(err, action{kind: Retry, after: max(0, d)})
}

// Discardable marks the error of a message that nobody needs any more: it is
// acknowledged unhandled and counted, for the reason given. Nil stays nil.
func Discardable(err error, reason string) error {
	if reason == "" {
		reason = "discardable"
	}
	return marked(err, action{kind: Discard, reason: reason})
}

// Infrastructure marks an error that has nothing to do with the message: the
// subscription pauses behind its breaker, and no attempt is burned. Mark only
// what every message would meet: a fault of one message that is marked so holds
// up all others for as long as it lasts. Nil stays nil.
func Infrastructure(err error) error {
	return marked(err, action{kind: Suspend, reason: "infrastructure fault"})
}

// markOf returns what the outermost mark of err asks for; in a join, that of
// the first marked error.
func markOf(err error) (action, bool) {
	m, ok := errors.AsType[*mark](err)
	if !ok {
		return action{}, false
	}
	return m.action, true
}

package supervision

import (
	"fmt"
	"time"
)

// Kind is what is to be done with a failed message.
type Kind uint8

// The kinds of verdict. The zero Kind is none of them.
const (
	// Retry: handle it again after Verdict.After. Its key waits.
	Retry Kind = iota + 1
	// Park: as Retry, with no end, at the longest back-off, and reported: the
	// message needs a person, or a dependency that comes back.
	Park
	// DeadLetter: publish it to Policy.DeadLetter, and acknowledge it once that
	// is confirmed; or reject it, if Policy.Reject is set.
	DeadLetter
	// Discard: acknowledge it unhandled, and count it.
	Discard
	// Stop: drain the whole system, which then names this message. It is not
	// acknowledged. Only a rule or OnError asks for it.
	Stop
	// Suspend: an infrastructure fault. Put the message back at the head of its
	// key, burn no attempt, and pause the subscription behind its [Breaker].
	Suspend
	// GiveBack: the attempt was called off by a drain or a revocation. Burn no
	// attempt and leave the message unacknowledged, to be delivered again.
	GiveBack
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Retry:
		return "retry"
	case Park:
		return "park"
	case DeadLetter:
		return "dead-letter"
	case Discard:
		return "discard"
	case Stop:
		return "stop"
	case Suspend:
		return "suspend"
	case GiveBack:
		return "give back"
	}
	return "no verdict"
}

// Burns says whether the attempt counts against MaxAttempts: it does for all
// kinds but Suspend and GiveBack.
func (k Kind) Burns() bool { return k >= Retry && k <= Stop }

// Decides says whether the message is decided, so that the next one of its key
// may start (after a dead letter: once that is confirmed).
func (k Kind) Decides() bool { return k == DeadLetter || k == Discard }

// Verdict is what is to be done with a failed message, and why.
type Verdict struct {
	// Kind is what to do.
	Kind Kind
	// After is how long to wait before the next attempt: of Retry and Park
	// only. From OnError, 0 asks for the policy's back-off.
	After time.Duration
	// Reason is why, in a few words for logs and dead letters. It does not
	// repeat the error.
	Reason string
}

// String returns kind, wait and reason, as in "retry after 2s: attempt 2 of 5".
func (v Verdict) String() string {
	s := v.Kind.String()
	if v.Kind == Retry || v.Kind == Park {
		s += fmt.Sprintf(" after %v", v.After)
	}
	if v.Reason != "" {
		s += ": " + v.Reason
	}
	return s
}

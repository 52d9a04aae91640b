package sagas

import (
	"context"
	"encoding/json"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// Kind says what may follow a step's failure.
type Kind uint8

const (
	// Compensatable steps can be undone. They come first.
	Compensatable Kind = iota
	// Pivot is the point of no return, at most one: before it is accepted the
	// saga may go back, afterwards only forward.
	Pivot
	// Retriable steps follow the pivot. They are tried until they succeed.
	Retriable
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Compensatable:
		return "compensatable"
	case Pivot:
		return "pivot"
	case Retriable:
		return "retriable"
	}
	return "no kind"
}

// Step is one step of a saga with state S. It is read only.
type Step[S any] struct {
	// Name is unique within the definition. It is part of idempotency keys and
	// of what is stored: renaming a step needs a new version. Required.
	Name string
	// Kind defaults to Compensatable.
	Kind Kind
	// When says, once the step is reached, whether it is done or passed over.
	// Defaults to always.
	When func(S) bool
	// Do is the step. Required.
	Do Action[S]
	// Undo takes back what Do did, or may have done. It must bear that Do never
	// happened. Required for compensatable steps, and for no others.
	Undo Action[S]
	// Query finds out what became of Do after its last attempt was silent:
	// accepted means that it was done, rejected that it was not. Without it, and
	// when it stays silent too, a compensatable step is undone and others are
	// stuck.
	Query Action[S]
	// Policy says how often Do is tried while it fails or is silent, and how
	// long is waited in between. Rejections are not tried again. Attempts
	// default to 5 for compensatable steps, and are unlimited for others.
	Policy supervision.Policy
	// GiveUp is how long Do is tried at the most; then its outcome is unknown.
	// Defaults to none for compensatable steps, and to 24 h for others.
	GiveUp time.Duration
	// UndoPolicy is Policy for Undo. Attempts default to unlimited.
	UndoPolicy supervision.Policy
	// UndoGiveUp is how long Undo is tried; then the saga is stuck. Defaults to
	// 24 h.
	UndoGiveUp time.Duration
}

// Action is what a step does: [Call] or [Send]. The zero value is none.
type Action[S any] struct {
	timeout  time.Duration
	call     func(ctx context.Context, key string, state S) (S, error)
	command  func(S) Command
	accepted func(S, Reply) (S, error)
}

func (a *Action[S]) isZero() bool { return a.call == nil && a.command == nil }

// Call is a function of this process. It runs outside of any transaction, with a
// context that ends after the timeout, and may run more than once for one step:
// whatever it does elsewhere must be told the key, which is the same each time.
//
// It returns the state with what it found out. An error made by [Reject] is a
// rejection; any other is a failure, of which it is unknown whether it had an
// effect.
func Call[S any](timeout time.Duration, call func(ctx context.Context, key string, state S) (S, error)) Action[S] {
	return Action[S]{timeout: timeout, call: call}
}

// Send is a command message that is answered with a [Reply]. A reply that does
// not come within the timeout counts as a failure, and the command is sent again
// as the policy says, with the same key. accepted puts what an accepting reply
// says into the state; nil ignores it. Both functions are pure.
func Send[S any](timeout time.Duration, command func(S) Command, accepted func(S, Reply) (S, error)) Action[S] {
	return Action[S]{timeout: timeout, command: command, accepted: accepted}
}

// Command is a message to a participant.
type Command struct {
	// Topic to send to. Required.
	Topic string
	// Type is the name of the command's type.
	Type string
	// Key defaults to the saga's id.
	Key []byte
	// Body is encoded as the payload.
	Body any
	// Headers go along.
	Headers brokers.Headers
}

// Reply is a participant's answer to a command.
type Reply struct {
	// Key is the command's idempotency key.
	Key string
	// Result is Accepted, Rejected or Failed.
	Result Result
	// Reason is why, if it was not accepted.
	Reason string
	// Payload is what else it says.
	Payload []byte
}

// Decode decodes the payload, which is JSON.
func (r Reply) Decode(into any) error { return json.Unmarshal(r.Payload, into) }

// Result is how an action ended.
type Result uint8

const (
	// Accepted: it was done.
	Accepted Result = iota + 1
	// Rejected: it was not done and never will be, for a reason of business.
	Rejected
	// Failed: it is unknown whether it was done; it may be tried again.
	Failed
)

// String returns the result in lower case.
func (r Result) String() string {
	switch r {
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	case Failed:
		return "failed"
	}
	return "no result"
}

// Verb is what is done with a step.
type Verb uint8

const (
	// Do is the step itself.
	Do Verb = iota + 1
	// Undo compensates it.
	Undo
	// Query asks what became of it.
	Query
)

// String returns the verb in lower case.
func (v Verb) String() string {
	switch v {
	case Do:
		return "do"
	case Undo:
		return "undo"
	case Query:
		return "query"
	}
	return "nothing"
}

// action is the step's of a verb.
func (s *Step[S]) action(v Verb) *Action[S] {
	switch v {
	case Undo:
		return &s.Undo
	case Query:
		return &s.Query
	}
	return &s.Do
}

// The longest time for which steps that cannot be given up are tried.
const defaultGiveUp = 24 * time.Hour

// patience is the policy of a verb, and how long it is tried at the most; 0 is
// for ever.
func (s *Step[S]) patience(v Verb) (supervision.Policy, time.Duration) {
	policy, giveUp := s.Policy, s.GiveUp
	if v == Undo {
		policy, giveUp = s.UndoPolicy, s.UndoGiveUp
	}
	if v == Undo || v == Do && s.Kind != Compensatable {
		if policy.MaxAttempts == 0 {
			policy.MaxAttempts = -1
		}
		if giveUp == 0 {
			giveUp = defaultGiveUp
		}
	}
	return policy, giveUp
}

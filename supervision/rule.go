package supervision

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Rule judges the errors that its condition matches. Make one with [On],
// [OnType] or [OnFunc].
type Rule struct {
	condition Condition
	action    action
}

// String returns condition and action, as in `on "no such product": dead-letter`.
func (r Rule) String() string { return r.condition.text + ": " + r.action.kind.String() }

func (r *Rule) matches(err error) bool {
	return r.condition.match != nil && r.condition.match(err)
}

// Condition matches errors; its methods make it a Rule.
type Condition struct {
	text  string
	match func(error) bool
}

// On matches errors that are target, by errors.Is.
func On(target error) Condition {
	if target == nil {
		return Condition{text: "on nil"}
	}
	return Condition{
		text:  fmt.Sprintf("on %q", target),
		match: func(err error) bool { return errors.Is(err, target) },
	}
}

// OnType matches errors that are or wrap an E, by errors.As.
func OnType[E error]() Condition {
	return Condition{
		text: fmt.Sprintf("on %v", reflect.TypeFor[E]()),
		match: func(err error) bool {
			_, ok := errors.AsType[E](err)
			return ok
		},
	}
}

// OnFunc matches errors for which match returns true. It is called for every
// failure that no earlier rule took, from several goroutines: it must be pure
// and quick, and must not panic.
func OnFunc(match func(error) bool) Condition {
	return Condition{text: "on a func", match: match}
}

// Retry retries, up to maxAttempts in all, with that back-off; then
// dead-letters or parks. Zero and nil take the policy's; a negative
// maxAttempts retries for ever.
func (c Condition) Retry(maxAttempts int, backoff Backoff) Rule {
	return Rule{c, action{kind: Retry, maxAttempts: maxAttempts, backoff: backoff}}
}

// DeadLetter dead-letters at the first failure. It needs Policy.DeadLetter, or Reject.
func (c Condition) DeadLetter() Rule { return c.rule(DeadLetter) }

// Discard acknowledges the message unhandled and counts it.
func (c Condition) Discard() Rule { return c.rule(Discard) }

// Park parks the message at the first failure: it is tried again, for ever, at
// the policy's longest back-off.
func (c Condition) Park() Rule { return c.rule(Park) }

// Stop drains the whole system, which then names the message.
func (c Condition) Stop() Rule { return c.rule(Stop) }

// Infrastructure says that the error has nothing to do with the message: the
// subscription pauses behind its breaker, and no attempt is burned. See the
// warning at the mark of that name.
func (c Condition) Infrastructure() Rule { return c.rule(Suspend) }

func (c Condition) rule(kind Kind) Rule {
	return Rule{c, action{kind: kind, reason: "rule " + c.text}}
}

// action is what a rule or a mark asks for.
type action struct {
	kind        Kind
	maxAttempts int
	backoff     Backoff
	after       time.Duration
	reason      string
}

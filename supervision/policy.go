package supervision

import (
	"errors"
	"fmt"
	"time"
)

// ErrInvalidPolicy is wrapped by every error of [Policy.Validate]; the text
// names the field. Mend the config.
var ErrInvalidPolicy = errors.New("supervision: invalid policy")

// The defaults of a Policy.
const (
	defaultMaxAttempts   = 5
	defaultMaxDeliveries = 5
)

var defaultBackoff = Exponential(100*time.Millisecond, 30*time.Second)

// Policy judges failures. The zero value is a sound one. It is read only, so
// one Policy may serve many subscriptions at once.
type Policy struct {
	// MaxAttempts is how often a message may be handled and fail. Negative is
	// for ever. Defaults to 5.
	MaxAttempts int
	// Backoff is the wait between attempts. Defaults to
	// Exponential(100*time.Millisecond, 30*time.Second).
	Backoff Backoff
	// Timeout ends the handler's context after that time, per attempt. Defaults
	// to none.
	Timeout time.Duration
	// DeadLetter is the topic of dead letters; without one, and without Reject,
	// messages that cannot be handled are parked. Defaults to none.
	DeadLetter string
	// Reject dead-letters by rejecting the message to the broker's own dead-letter
	// exchange, instead of publishing to DeadLetter, which is then empty. It is for
	// brokers with Features.Rejection, and for those who keep what their queues do: a
	// message lies there as it was published, with what the broker says of its death,
	// and without this policy's reasons, which are told by event and log alone. The
	// broker confirms nothing: how safe it is lies with the queue. Defaults to false.
	Reject bool
	// Rules judge by error; the first that matches wins. Defaults to none.
	Rules []Rule
	// OnError judges before the Rules; false leaves the failure to them. It
	// decides alone: MaxAttempts does not bound its Retry. It is called from
	// several goroutines: it must be pure and quick, and must not panic. A
	// verdict of no known Kind parks the message. Defaults to none.
	OnError func(Failure) (Verdict, bool)
	// Breaker paces the pauses for infrastructure faults.
	Breaker BreakerConfig
	// MaxDeliveries is how often a message may be delivered without coming to
	// a verdict before it is suspected of ending the process. Negative is for
	// ever. Defaults to 5.
	MaxDeliveries int
}

// Validate returns every contradiction of the policy, joined, each naming its
// field and wrapping [ErrInvalidPolicy]; nil if there is none.
func (p Policy) Validate() error {
	var errs []error
	refuse := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrInvalidPolicy, field, fmt.Sprintf(format, args...)))
	}
	if p.Timeout < 0 {
		refuse("Timeout", "%v is negative", p.Timeout)
	}
	if err := validateBackoff(p.Backoff); err != nil {
		refuse("Backoff", "%v", err)
	}
	if p.Reject && p.DeadLetter != "" {
		refuse("Reject", "goes instead of DeadLetter, which is %q", p.DeadLetter)
	}
	for i := range p.Rules {
		if err := p.validateRule(&p.Rules[i]); err != nil {
			refuse(fmt.Sprintf("Rules[%d]", i), "%v", err)
		}
	}
	p.Breaker.validate(refuse)
	return errors.Join(errs...)
}

func (p *Policy) validateRule(r *Rule) error {
	switch {
	case r.action.kind == 0:
		return errors.New("is empty: make it with On, OnType or OnFunc")
	case r.condition.match == nil:
		return fmt.Errorf("(%v) matches no error", r)
	case r.action.kind == DeadLetter && !p.Buries():
		return fmt.Errorf("(%v) needs the field DeadLetter, or Reject", r)
	}
	if err := validateBackoff(r.action.backoff); err != nil {
		return fmt.Errorf("(%v) %w", r, err)
	}
	return nil
}

// validateBackoff asks the back-offs of this package; others know best.
func validateBackoff(b Backoff) error {
	if v, ok := b.(interface{ validate() error }); ok {
		return v.validate()
	}
	return nil
}

// Decide judges a failure. It is a pure function: the jitter of its waits is
// drawn from the message's identity and the attempt, so equal failures get
// equal verdicts, and different messages are spread. The order in which it asks
// is in the package comment.
//
// A DeadLetter verdict is given only where the policy Buries; elsewhere the message
// is parked instead.
func (p Policy) Decide(f Failure) Verdict {
	if f.givenBack() {
		return Verdict{Kind: GiveBack, Reason: "called off"}
	}
	if p.OnError != nil {
		if v, ok := p.OnError(f); ok {
			return p.complete(v, &f)
		}
	}
	for i := range p.Rules {
		if r := &p.Rules[i]; r.matches(f.Err) {
			return p.act(&r.action, &f)
		}
	}
	if a, ok := markOf(f.Err); ok {
		return p.act(&a, &f)
	}
	if errors.Is(f.Err, ErrTooManyDeliveries) {
		return p.giveUp(fmt.Sprintf("delivered %d times without a verdict", f.Delivery))
	}
	return p.act(&action{kind: Retry}, &f)
}

// Suspect says whether a message delivered that often (this time included)
// may be what ends the process: handle it alone, and if it is delivered once
// more, judge it with [ErrTooManyDeliveries].
func (p Policy) Suspect(delivery int) bool {
	limit := orDefault(p.MaxDeliveries, defaultMaxDeliveries)
	return limit > 0 && delivery >= limit
}

// act carries out what a rule, a mark or the default asks for.
func (p *Policy) act(a *action, f *Failure) Verdict {
	switch a.kind {
	case Retry:
		return p.retry(a, f)
	case DeadLetter:
		return p.giveUp(a.reason)
	case Park:
		return p.park(a.reason)
	}
	return Verdict{Kind: a.kind, Reason: a.reason}
}

func (p *Policy) retry(a *action, f *Failure) Verdict {
	limit := orDefault(a.maxAttempts, orDefault(p.MaxAttempts, defaultMaxAttempts))
	if limit > 0 && f.Attempt >= limit {
		return p.giveUp(fmt.Sprintf("%d attempts failed", f.Attempt))
	}
	v := Verdict{Kind: Retry, After: a.after, Reason: fmt.Sprintf("attempt %d", f.Attempt)}
	if limit > 0 {
		v.Reason += fmt.Sprintf(" of %d", limit)
	}
	if v.After == 0 {
		v.After = p.backoff(a.backoff).Delay(f.Attempt, f.seed())
	}
	return v
}

// Buries says whether there is a place for dead letters: DeadLetter or Reject is set.
func (p *Policy) Buries() bool { return p.DeadLetter != "" || p.Reject }

// giveUp ends the retries without losing the message.
func (p *Policy) giveUp(reason string) Verdict {
	if !p.Buries() {
		return p.park(reason + "; no dead-letter topic")
	}
	return Verdict{Kind: DeadLetter, Reason: reason}
}

func (p *Policy) park(reason string) Verdict {
	return Verdict{Kind: Park, After: p.backoff(nil).Max(), Reason: reason}
}

// complete makes the verdict of OnError one that can be carried out.
func (p *Policy) complete(v Verdict, f *Failure) Verdict {
	if v.Reason == "" {
		v.Reason = "OnError"
	}
	switch v.Kind {
	case Retry:
		if v.After <= 0 {
			v.After = p.backoff(nil).Delay(f.Attempt, f.seed())
		}
	case Park:
		if v.After <= 0 {
			v.After = p.backoff(nil).Max()
		}
	case DeadLetter:
		return p.giveUp(v.Reason)
	case Discard, Stop, Suspend, GiveBack:
		v.After = 0
	default:
		return p.park(fmt.Sprintf("OnError returned %v (%d)", v.Kind, v.Kind))
	}
	return v
}

func (p *Policy) backoff(own Backoff) Backoff {
	if own != nil {
		return own
	}
	if p.Backoff != nil {
		return p.Backoff
	}
	return defaultBackoff
}

func orDefault(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}

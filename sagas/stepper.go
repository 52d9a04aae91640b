package sagas

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-go/troupe/supervision"
)

var (
	// ErrPastPivot says that an instance can no longer go back: its pivot was
	// asked for, or a step after it. Let it end.
	ErrPastPivot = errors.New("sagas: past the pivot")
	// ErrNotStuck says that an operation is for stuck instances, and this one is
	// not. Look at it again: somebody else may have acted.
	ErrNotStuck = errors.New("sagas: not stuck")
	// ErrEnded says that the instance has ended. There is nothing to do.
	ErrEnded = errors.New("sagas: ended")
	// ErrMismatch says that the instance is of another definition or version, or
	// has another number of steps. Give it the definition that it began with.
	ErrMismatch = errors.New("sagas: instance of another definition")

	errSilent = errors.New("no reply in time")
)

// Begin starts an instance. The definition must be valid.
func (d *Definition[S]) Begin(id string, state S, now time.Time) Transition[S] {
	m := machine[S]{def: d, now: now, in: Instance[S]{
		ID: id, Definition: d.Name, Version: d.Version, Status: Running, State: state,
		Outcomes: make([]Outcome, len(d.Steps)), Began: now,
	}}
	m.log(Entry{What: Started})
	if d.Deadline > 0 {
		m.in.Deadline = now.Add(d.Deadline)
		m.timers = append(m.timers, Timer{At: m.in.Deadline})
	}
	m.forward(0)
	return m.transition()
}

// Advance tells an instance of an event. It is a pure function, which leaves the
// instance as it is. What the event does not concern (a late or repeated reply,
// a stale timer) changes nothing but the log.
//
// An error means that nothing changed: [ErrMismatch], [ErrPastPivot],
// [ErrNotStuck], [ErrEnded], or what a step's own function said of a reply, which
// then is not to be told again.
func (d *Definition[S]) Advance(in Instance[S], e Event, now time.Time) (Transition[S], error) {
	if in.Definition != d.Name || in.Version != d.Version || len(in.Outcomes) != len(d.Steps) {
		return Transition[S]{}, fmt.Errorf("%w: %s version %d of %d steps, not %s version %d of %d", ErrMismatch,
			in.Definition, in.Version, len(in.Outcomes), d.Name, d.Version, len(d.Steps))
	}
	m := machine[S]{def: d, now: now, in: in.clone()}
	if err := m.handle(e); err != nil {
		return Transition[S]{}, err
	}
	return m.transition(), nil
}

// Resume asks again for what an instance awaits, as after a crash: calls that
// were under way. It burns no attempt.
func (d *Definition[S]) Resume(in Instance[S]) []Request {
	w := in.Work
	if in.Status.Ended() || in.Status == Stuck || !w.Awaiting {
		return nil
	}
	a := d.Steps[w.Step].action(w.Verb)
	if a.call == nil {
		return nil
	}
	return []Request{{Step: w.Step, Verb: w.Verb, Key: in.key(d.Steps[w.Step].Name, w.Verb), Timeout: a.timeout}}
}

// machine is one transition in the making.
type machine[S any] struct {
	def *Definition[S]
	now time.Time
	in  Instance[S]

	commands []Message
	calls    []Request
	timers   []Timer
	entries  []Entry
}

func (m *machine[S]) transition() Transition[S] {
	return Transition[S]{Instance: m.in, Commands: m.commands, Calls: m.calls, Timers: m.timers, Log: m.entries}
}

func (m *machine[S]) log(e Entry) {
	e.At = m.now
	m.entries = append(m.entries, e)
}

// note logs something about the work.
func (m *machine[S]) note(what Happening, reason string) {
	w := m.in.Work
	m.log(Entry{What: what, Step: m.def.Steps[w.Step].Name, Verb: w.Verb, Attempt: w.Attempt, Took: m.now.Sub(w.Since), Reason: reason})
}

func (m *machine[S]) handle(e Event) error {
	switch e := e.(type) {
	case Replied[S]:
		return m.replied(e)
	case TimerFired:
		m.fired(e.Timer)
		return nil
	case CancelAsked:
		return m.cancel(e.Reason)
	case OperatorActed:
		return m.operate(e)
	}
	return fmt.Errorf("sagas: unknown event %T", e)
}

// replied takes the result of what is awaited. A reply to an earlier attempt is
// as good, as the key is the same.
func (m *machine[S]) replied(r Replied[S]) error {
	w := m.in.Work
	if !m.atWork() || r.Key != m.in.key(m.def.Steps[w.Step].Name, w.Verb) {
		m.log(Entry{What: ReplyIgnored, Reason: fmt.Sprintf("%v for %s", r.Result, r.Key)})
		return nil
	}
	switch r.Result {
	case Accepted:
		if err := m.take(r); err != nil {
			return err
		}
		m.accepted()
	case Rejected:
		m.rejected(r.Reason)
	case Failed:
		if !w.Awaiting {
			m.log(Entry{What: ReplyIgnored, Reason: fmt.Sprintf("%v for %s", r.Result, r.Key)})
			return nil
		}
		m.failed(errors.New(r.Reason))
	default:
		return fmt.Errorf("sagas: reply with %v (%d)", r.Result, r.Result)
	}
	return nil
}

// replyError is what a step's own function said of a reply.
type replyError struct {
	key string
	err error
}

func (e *replyError) Error() string { return fmt.Sprintf("sagas: reply to %s: %v", e.key, e.err) }

func (e *replyError) Unwrap() error { return e.err }

// atWork says whether a result of the work would still count.
func (m *machine[S]) atWork() bool { return m.in.Status == Running || m.in.Status == Compensating }

// take puts what a reply says into the state.
func (m *machine[S]) take(r Replied[S]) error {
	w := m.in.Work
	if r.State != nil {
		m.in.State = *r.State
		return nil
	}
	a := m.def.Steps[w.Step].action(w.Verb)
	if a.accepted == nil {
		return nil
	}
	state, err := a.accepted(m.in.State, r.Reply)
	if err != nil {
		return &replyError{r.Key, err}
	}
	m.in.State = state
	return nil
}

func (m *machine[S]) accepted() {
	w := m.in.Work
	if w.Verb == Undo {
		m.note(StepUndone, "")
		m.undone(Undone)
		return
	}
	m.note(StepDone, "")
	m.done()
}

// done goes on after a step that was done.
func (m *machine[S]) done() {
	w := m.in.Work
	m.in.Outcomes[w.Step] = Done
	if m.in.Cancelled != "" {
		m.back(m.in.Cancelled)
		return
	}
	m.forward(w.Step + 1)
}

// rejected: business has refused it. A compensation and a retriable step have no
// way to go from there, so they are tried again, until they are stuck.
func (m *machine[S]) rejected(reason string) {
	w := m.in.Work
	switch retriable := m.def.Steps[w.Step].Kind == Retriable; {
	case retriable && w.Verb == Query:
		m.lost("not done: " + reason)
		return
	case retriable, w.Verb == Undo:
		if w.Awaiting {
			m.failed(fmt.Errorf("rejected: %s", reason))
		}
		return
	}
	m.note(StepNotDone, reason)
	m.in.Outcomes[w.Step] = NotDone
	m.back(reason)
}

// fired is the end of a timer.
func (m *machine[S]) fired(t Timer) {
	switch {
	case t.Token == 0:
		if m.in.Status == Running && !m.in.Deadline.IsZero() && !m.now.Before(m.in.Deadline) {
			if err := m.cancel("deadline"); err != nil {
				m.log(Entry{What: CancelRefused, Reason: "deadline: " + err.Error()})
			}
		}
	case t.Token != m.in.Token || !m.atWork():
		// It was for something that is over.
	case m.in.Work.Awaiting:
		m.failed(errSilent)
	default:
		m.in.Work.Attempt++
		m.ask()
	}
}

// failed judges an attempt of which nobody knows what it did.
func (m *machine[S]) failed(err error) {
	m.note(AttemptFailed, err.Error())
	w := &m.in.Work
	w.Awaiting = false
	if m.in.Cancelled != "" && w.Verb == Do { // it will not be tried again
		m.lost(m.in.Cancelled)
		return
	}
	policy, giveUp := m.def.Steps[w.Step].patience(w.Verb)
	v := policy.Decide(supervision.Failure{Err: err, Attempt: w.Attempt, FirstAt: w.Since, At: m.now})
	after := v.After
	switch v.Kind {
	case supervision.Retry:
	case supervision.Suspend: // whatever the infrastructure does, the time is what counts
		after = max(after, time.Second)
	default:
		m.lost(fmt.Sprintf("given up at attempt %d: %v", w.Attempt, err))
		return
	}
	if giveUp > 0 && m.now.Add(after).Sub(w.Since) > giveUp {
		m.lost(fmt.Sprintf("tried for %v: %v", m.now.Sub(w.Since), err))
		return
	}
	m.timer(after)
}

// lost: the attempts are used up, and the outcome is unknown.
func (m *machine[S]) lost(reason string) {
	w := m.in.Work
	s := &m.def.Steps[w.Step]
	switch {
	case w.Verb == Undo:
		m.stick(reason)
	case w.Verb == Do && !s.Query.isZero():
		m.begin(w.Step, Query)
	case s.Kind == Compensatable:
		m.note(OutcomeLost, reason)
		m.in.Outcomes[w.Step] = Unknown
		m.back(reason)
	default:
		m.in.Outcomes[w.Step] = Unknown
		m.stick(reason)
	}
}

func (m *machine[S]) stick(reason string) {
	m.in.Status = Stuck
	m.in.Reason = reason
	m.note(GotStuck, reason)
}

// forward begins the next step that is not passed over.
func (m *machine[S]) forward(i int) {
	for ; i < len(m.def.Steps); i++ {
		s := &m.def.Steps[i]
		if s.When == nil || s.When(m.in.State) {
			m.in.Outcomes[i] = Intended
			m.begin(i, Do)
			return
		}
		m.in.Outcomes[i] = PassedOver
		m.log(Entry{What: StepSkipped, Step: s.Name, Reason: "its condition says no"})
	}
	m.in.Status = Completed
	m.in.Work = Work{}
	m.log(Entry{What: AllDone})
}

// back compensates the latest step that was done or may have been.
func (m *machine[S]) back(reason string) {
	if m.in.Status != Compensating {
		m.in.Status = Compensating
		m.in.Reason = reason
		m.log(Entry{What: GoingBack, Reason: reason})
	}
	for i, o := range slices.Backward(m.in.Outcomes) {
		if o == Done || o == Unknown {
			m.begin(i, Undo)
			return
		}
	}
	m.in.Status = Compensated
	m.in.Work = Work{}
	m.log(Entry{What: AllUndone})
}

func (m *machine[S]) undone(as Outcome) {
	m.in.Outcomes[m.in.Work.Step] = as
	m.back(m.in.Reason)
}

// begin is the first attempt at something.
func (m *machine[S]) begin(step int, v Verb) {
	m.in.Work = Work{Step: step, Verb: v, Attempt: 1, Since: m.now}
	if v == Query {
		m.in.Queries++
	}
	m.note(StepBegun, "")
	m.ask()
}

// ask makes an attempt.
func (m *machine[S]) ask() {
	w := &m.in.Work
	s := &m.def.Steps[w.Step]
	a := s.action(w.Verb)
	key := m.in.key(s.Name, w.Verb)
	w.Awaiting = true
	if a.call != nil {
		m.calls = append(m.calls, Request{Step: w.Step, Verb: w.Verb, Key: key, Timeout: a.timeout})
	} else {
		c := a.command(m.in.State)
		if c.Key == nil {
			c.Key = []byte(m.in.ID)
		}
		m.commands = append(m.commands, Message{Command: c, IdempotencyKey: key, Attempt: w.Attempt})
	}
	m.timer(a.timeout)
}

// timer replaces the instance's timer.
func (m *machine[S]) timer(after time.Duration) {
	m.in.Token++
	m.timers = append(m.timers, Timer{Token: m.in.Token, At: m.now.Add(after)})
}

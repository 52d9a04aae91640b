package sagas

import (
	"fmt"
)

// cancel has a running instance go back: at once if nothing is under way, else
// when the outcome of its step is known, or given up.
func (m *machine[S]) cancel(reason string) error {
	if reason == "" {
		reason = "cancelled"
	}
	switch {
	case m.in.Status.Ended():
		return fmt.Errorf("%w: %v", ErrEnded, m.in.Status)
	case m.in.Status == Compensating, m.in.Cancelled != "":
		return nil
	case m.in.Status == Stuck && m.in.Work.Verb == Undo:
		return nil
	}
	w := &m.in.Work
	s := &m.def.Steps[w.Step]
	if s.Kind != Compensatable {
		return fmt.Errorf("%w: at step %q", ErrPastPivot, s.Name)
	}
	m.in.Cancelled = reason
	m.log(Entry{What: CancelNoted, Reason: reason})
	if !w.Awaiting && w.Verb == Do { // it waits to be tried again
		m.lost(reason)
	}
	return nil
}

// operate carries out what a person decided.
func (m *machine[S]) operate(e OperatorActed) error {
	switch {
	case m.in.Status.Ended():
		return fmt.Errorf("%w: %v", ErrEnded, m.in.Status)
	case m.in.Status != Stuck:
		return fmt.Errorf("%w: %v", ErrNotStuck, m.in.Status)
	case e.Operation < Retry || e.Operation > Skip:
		return fmt.Errorf("sagas: unknown operation %d", e.Operation)
	case e.Reason == "" && e.Operation != Retry:
		return fmt.Errorf("sagas: %v needs a reason", e.Operation)
	}
	w := m.in.Work
	s := &m.def.Steps[w.Step]
	m.log(Entry{What: Acted, Step: s.Name, Verb: w.Verb, Reason: e.Operation.String() + ": " + e.Reason, Who: e.Who})
	undoing := w.Verb == Undo
	m.in.Status = Running
	if undoing {
		m.in.Status = Compensating
	}
	switch {
	case e.Operation == Retry:
		verb := w.Verb
		if !undoing { // a query that found nothing is no reason to ask it again
			verb = Do
			m.in.Outcomes[w.Step] = Intended
		}
		m.begin(w.Step, verb)
	case e.Operation == Resolve && undoing:
		m.note(StepUndone, e.Reason)
		m.undone(Undone)
	case e.Operation == Resolve:
		m.note(StepDone, e.Reason)
		m.done()
	case undoing:
		m.note(StepLeft, e.Reason)
		m.undone(Left)
	case s.Kind == Pivot:
		m.note(StepNotDone, e.Reason)
		m.in.Outcomes[w.Step] = NotDone
		m.back(e.Reason)
	default:
		m.note(StepSkipped, e.Reason)
		m.in.Outcomes[w.Step] = PassedOver
		m.forward(w.Step + 1)
	}
	return nil
}

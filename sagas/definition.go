package sagas

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrInvalid is wrapped by every error of [Definition.Validate]; the text names
// the saga, the step and the field. Mend the definition.
var ErrInvalid = errors.New("sagas: invalid definition")

// Definition is a saga's steps. It is read only, and may be used by many
// goroutines at once.
type Definition[S any] struct {
	// Name of the saga. It is stored with each instance. Required.
	Name string
	// Version is stored with each instance, which keeps the one that it began
	// with. Steps that differ need another. Required, from 1.
	Version int
	// Steps in their order: compensatable ones, at most one pivot, retriable
	// ones. Required.
	Steps []Step[S]
	// Deadline is how long after its start a saga that has not passed its pivot
	// is cancelled. Defaults to none.
	Deadline time.Duration
}

// Validate returns every fault of the definition, joined, each wrapping
// [ErrInvalid]; nil if there is none.
func (d *Definition[S]) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: saga %q: %s", ErrInvalid, d.Name, fmt.Sprintf(format, args...)))
	}
	validateName(d.Name, refuse)
	if d.Version < 1 {
		refuse("Version %d is less than 1", d.Version)
	}
	if len(d.Steps) == 0 {
		refuse("Steps is empty")
	}
	if d.Deadline < 0 {
		refuse("Deadline %v is negative", d.Deadline)
	}
	d.validateOrder(refuse)
	for i := range d.Steps {
		s := &d.Steps[i]
		s.validate(func(format string, args ...any) {
			refuse("step %d %q: %s", i+1, s.Name, fmt.Sprintf(format, args...))
		})
	}
	return errors.Join(errs...)
}

// validateOrder looks at what steps are to each other.
func (d *Definition[S]) validateOrder(refuse func(string, ...any)) {
	names := make(map[string]int)
	latest := Compensatable
	var before string
	for i := range d.Steps {
		s := &d.Steps[i]
		if first, ok := names[s.Name]; ok {
			refuse("step %d %q: has the name of step %d", i+1, s.Name, first+1)
		} else {
			names[s.Name] = i
		}
		switch {
		case s.Kind > Retriable:
			refuse("step %d %q: Kind %d is unknown", i+1, s.Name, s.Kind)
		case s.Kind < latest:
			refuse("step %d %q: a %v step comes after the %v step %q", i+1, s.Name, s.Kind, latest, before)
		case s.Kind == Pivot && latest == Pivot:
			refuse("step %d %q: a second pivot, after %q", i+1, s.Name, before)
		default:
			latest, before = s.Kind, s.Name
		}
	}
}

func (s *Step[S]) validate(refuse func(string, ...any)) {
	validateName(s.Name, refuse)
	if s.Do.isZero() {
		refuse("Do is missing")
	}
	switch undoable := s.Kind == Compensatable; {
	case undoable && s.Undo.isZero():
		refuse("Undo is missing: it is how a compensatable step is compensated")
	case !undoable && !s.Undo.isZero():
		refuse("Undo is set, and a %v step is never compensated", s.Kind)
	}
	for _, v := range []Verb{Do, Undo, Query} {
		if a := s.action(v); !a.isZero() && a.timeout <= 0 {
			refuse("the time-out %v of %v is not positive", a.timeout, v)
		}
	}
	if s.GiveUp < 0 {
		refuse("GiveUp %v is negative", s.GiveUp)
	}
	if s.UndoGiveUp < 0 {
		refuse("UndoGiveUp %v is negative", s.UndoGiveUp)
	}
	if err := s.Policy.Validate(); err != nil {
		refuse("Policy: %v", err)
	}
	if err := s.UndoPolicy.Validate(); err != nil {
		refuse("UndoPolicy: %v", err)
	}
	if s.Policy.Reject || s.UndoPolicy.Reject {
		refuse("Policy or UndoPolicy: Reject: a step is no message that a broker could have back")
	}
}

// validateName keeps idempotency keys readable.
func validateName(name string, refuse func(string, ...any)) {
	switch {
	case name == "":
		refuse("Name is empty")
	case strings.Contains(name, "/"):
		refuse("Name %q has a slash", name)
	}
}

// step returns the index of a step by its name.
func (d *Definition[S]) step(name string) (int, bool) {
	for i := range d.Steps {
		if d.Steps[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

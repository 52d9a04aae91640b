package sagatest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/sagas"
)

// Script tells an instance of events, one after the other, and expects what they
// lead to: commands, calls, the status, the state and what is compensated. It is
// pure, and needs neither a store nor a broker; its clock goes on by timers only. An
// expectation that fails ends the test, with the instance's timeline. It is used by
// the goroutine of the test.
type Script[S any] struct {
	t    actortest.TB
	def  *sagas.Definition[S]
	now  time.Time
	in   sagas.Instance[S]
	log  []sagas.Entry
	next []asked // not expected yet
	last asked   // what was expected last: that is what is answered

	timer, deadline sagas.Timer
}

// asked is a command or a call.
type asked struct {
	key     string
	command *sagas.Message
	call    *sagas.Request
}

func (a *asked) String() string {
	if a.command != nil {
		return fmt.Sprintf("command %s to %s (%s)", a.command.Type, a.command.Topic, a.key)
	}
	return "call of " + a.key
}

// Begin starts an instance of a definition, which must be valid.
func Begin[S any](t actortest.TB, def *sagas.Definition[S], id string, state S) *Script[S] {
	t.Helper()
	s := &Script[S]{t: t, def: def, now: start}
	if err := def.Validate(); err != nil {
		t.Fatalf("%v", err)
	}
	s.took(def.Begin(id, state, s.now))
	return s
}

func (s *Script[S]) took(t sagas.Transition[S]) {
	s.in, s.log = t.Instance, append(s.log, t.Log...)
	for i := range t.Commands {
		s.next = append(s.next, asked{key: t.Commands[i].IdempotencyKey, command: &t.Commands[i]})
	}
	for i := range t.Calls {
		s.next = append(s.next, asked{key: t.Calls[i].Key, call: &t.Calls[i]})
	}
	for _, timer := range t.Timers {
		if timer.Token == 0 {
			s.deadline = timer
		} else {
			s.timer = timer
		}
	}
}

// advance tells of an event.
func (s *Script[S]) advance(e sagas.Event) error {
	t, err := s.def.Advance(s.in, e, s.now)
	if err == nil {
		s.took(t)
	}
	return err
}

// tell is advance for what cannot fail.
func (s *Script[S]) tell(e sagas.Event) {
	s.t.Helper()
	if err := s.advance(e); err != nil {
		s.fail("%v", err)
	}
}

func (s *Script[S]) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\nwhat happened:\n%s", fmt.Sprintf(format, args...), Timeline(s.log))
}

// ExpectCommand expects that a command of that type was sent to a topic next, and
// returns it. The replies that the script gives after that are to it.
func (s *Script[S]) ExpectCommand(topic, name string) sagas.Message {
	s.t.Helper()
	a := s.take()
	if a == nil || a.command == nil || a.command.Topic != topic || a.command.Type != name {
		s.fail("expected: command %s to %s\n     got: %s", name, topic, describe(a))
	}
	return *a.command
}

// ExpectCall expects that a step's function is called next. What it is to return is
// told by Return, Reject or Fail.
func (s *Script[S]) ExpectCall(step string, verb sagas.Verb) {
	s.t.Helper()
	a := s.take()
	if a == nil || a.call == nil || s.def.Steps[a.call.Step].Name != step || a.call.Verb != verb {
		s.fail("expected: call to %v %s\n     got: %s", verb, step, describe(a))
	}
}

// ExpectNothing expects that nothing is sent or called that was not expected.
func (s *Script[S]) ExpectNothing() {
	s.t.Helper()
	if len(s.next) > 0 {
		s.fail("expected: nothing\n     got: %v", &s.next[0])
	}
}

func (s *Script[S]) take() *asked {
	if len(s.next) == 0 {
		return nil
	}
	s.last, s.next = s.next[0], s.next[1:]
	return &s.last
}

func describe(a *asked) string {
	if a == nil {
		return "nothing"
	}
	return a.String()
}

// reply answers what was expected last.
func (s *Script[S]) reply(r sagas.Reply, state *S) {
	s.t.Helper()
	if s.last.key == "" {
		s.fail("there is nothing to answer: expect a command or a call first")
	}
	r.Key = s.last.key
	s.tell(sagas.Replied[S]{Reply: r, State: state})
}

// Accept answers the last command with success, and a body, as JSON, if there is
// one.
func (s *Script[S]) Accept(body ...any) {
	s.t.Helper()
	r := sagas.Reply{Result: sagas.Accepted}
	if len(body) > 0 {
		var err error
		if r.Payload, err = json.Marshal(body[0]); err != nil {
			s.fail("body of a reply: %v", err)
		}
	}
	s.reply(r, nil)
}

// Return has the last call succeed, with the state.
func (s *Script[S]) Return(state S) {
	s.t.Helper()
	s.reply(sagas.Reply{Result: sagas.Accepted}, &state)
}

// Reject answers the last command or call that it will never be done.
func (s *Script[S]) Reject(reason string) {
	s.t.Helper()
	s.reply(sagas.Reply{Result: sagas.Rejected, Reason: reason}, nil)
}

// Fail answers the last command or call that it is unknown whether it was done.
func (s *Script[S]) Fail(reason string) {
	s.t.Helper()
	s.reply(sagas.Reply{Result: sagas.Failed, Reason: reason}, nil)
}

// Wait lets the time pass until the instance's timer: no reply has come, or the next
// attempt is due.
func (s *Script[S]) Wait() {
	s.t.Helper()
	s.now = s.timer.At
	s.tell(sagas.TimerFired{Timer: s.timer})
}

// WaitForDeadline lets the time pass until the deadline of the whole.
func (s *Script[S]) WaitForDeadline() {
	s.t.Helper()
	s.now = s.deadline.At
	s.tell(sagas.TimerFired{Timer: s.deadline})
}

// Cancel wants the instance to go back. The error is that of Handle.Cancel.
func (s *Script[S]) Cancel(reason string) error { return s.advance(sagas.CancelAsked{Reason: reason}) }

// Operate is what a person decided. The error is that of Handle.Operate.
func (s *Script[S]) Operate(operation sagas.Operation, who, reason string) error {
	return s.advance(sagas.OperatorActed{Operation: operation, Who: who, Reason: reason})
}

// ExpectStatus expects how far the instance is.
func (s *Script[S]) ExpectStatus(want sagas.Status) {
	s.t.Helper()
	if s.in.Status != want {
		s.fail("expected: %v\n     got: %v (%s)", want, s.in.Status, s.in.Reason)
	}
}

// ExpectState expects the state, as reflect.DeepEqual compares it.
func (s *Script[S]) ExpectState(want S) {
	s.t.Helper()
	if !reflect.DeepEqual(s.in.State, want) {
		s.fail("expected: %+v\n     got: %+v", want, s.in.State)
	}
}

// ExpectDone expects the steps that were done so far, in their order.
func (s *Script[S]) ExpectDone(steps ...string) {
	s.t.Helper()
	s.expectSteps(sagas.StepDone, steps)
}

// ExpectUndone expects the steps that were compensated so far, in that order.
func (s *Script[S]) ExpectUndone(steps ...string) {
	s.t.Helper()
	s.expectSteps(sagas.StepUndone, steps)
}

func (s *Script[S]) expectSteps(what sagas.Happening, want []string) {
	s.t.Helper()
	if got := stepsOf(s.log, what); !slices.Equal(got, want) {
		s.fail("expected: %q\n     got: %q", want, got)
	}
}

// stepsOf are the steps to which something happened, in order.
func stepsOf(log []sagas.Entry, what sagas.Happening) (steps []string) {
	for i := range log {
		if log[i].What == what {
			steps = append(steps, log[i].Step)
		}
	}
	return steps
}

// Instance is how it stands.
func (s *Script[S]) Instance() sagas.Instance[S] { return s.in }

// Timeline is a log for people, with the time since the first entry.
func Timeline(log []sagas.Entry) string {
	var b strings.Builder
	for i := range log {
		e := &log[i]
		what := string(e.What)
		if e.Step != "" {
			what = fmt.Sprintf("%v %s: %s", e.Verb, e.Step, e.What)
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-6v %-30s %s", e.At.Sub(log[0].At), what, e.Reason), " ") + "\n")
	}
	return b.String()
}

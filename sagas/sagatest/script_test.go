package sagatest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/sagatest"
)

// failing is a test that fails, and says why.
type failing struct{ text string }

func (f *failing) Helper()                      {}
func (f *failing) Cleanup(func())               {}
func (f *failing) Errorf(text string, a ...any) { f.text += fmt.Sprintf(text, a...) }
func (f *failing) Fatalf(text string, a ...any) { f.Errorf(text, a...); panic(f) }

// Each expectation that does not hold ends the test, and says what was there.
func TestScriptFails(t *testing.T) {
	for want, expect := range map[string]func(s *sagatest.Script[booking]){
		"expected: command Charge to flights":     func(s *sagatest.Script[booking]) { s.ExpectCommand("flights", "Charge") },
		"expected: command Hold to cards":         func(s *sagatest.Script[booking]) { s.ExpectCommand("cards", "Hold") },
		"expected: call to do seat":               func(s *sagatest.Script[booking]) { s.ExpectCall("seat", sagas.Do) },
		"expected: nothing":                       func(s *sagatest.Script[booking]) { s.ExpectNothing() },
		"got: nothing":                            func(s *sagatest.Script[booking]) { s.ExpectCommand("flights", "Hold"); s.ExpectCall("seat", sagas.Do) },
		"expected: completed":                     func(s *sagatest.Script[booking]) { s.ExpectStatus(sagas.Completed) },
		"expected: {Seat:1A}":                     func(s *sagatest.Script[booking]) { s.ExpectState(booking{"1A"}) },
		`expected: ["seat"]`:                      func(s *sagatest.Script[booking]) { s.ExpectUndone("seat") },
		`expected: ["pay"]`:                       func(s *sagatest.Script[booking]) { s.ExpectDone("pay") },
		"expect a command or a call first":        func(s *sagatest.Script[booking]) { s.Accept() },
		"sagas: reply to booking/b-7/seat/do: js": func(s *sagatest.Script[booking]) { s.ExpectCommand("flights", "Hold"); s.Accept("no object") },
	} {
		f := &failing{}
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(f) {
					panic(p)
				}
			}()
			expect(sagatest.Begin(actortest.TB(f), bookings(), "b-7", booking{}))
		}()
		if !strings.Contains(f.text, want) || !strings.Contains(f.text, "what happened") {
			t.Errorf("it said %q, want %q", f.text, want)
		}
	}
}

// What a script can tell of besides replies.
func TestScript(t *testing.T) {
	s := sagatest.Begin(t, bookings(), "b-7", booking{})
	s.ExpectCommand("flights", "Hold")
	s.Fail("down")
	s.WaitForDeadline()
	s.ExpectCommand("flights", "Free")
	if err := s.Cancel("again"); err != nil { // it goes back already
		t.Error(err)
	}
	if err := s.Operate(sagas.Skip, "eve", "no"); !errors.Is(err, sagas.ErrNotStuck) {
		t.Errorf("operate: %v", err)
	}
	s.Accept()
	s.ExpectStatus(sagas.Compensated)

	s = sagatest.Begin(t, bookings(), "b-8", booking{})
	s.ExpectCommand("flights", "Hold")
	s.Accept()
	s.ExpectCommand("cards", "Charge")
	s.Accept()
	s.ExpectCall("tell", sagas.Do)
	if err := s.Cancel("late"); !errors.Is(err, sagas.ErrPastPivot) {
		t.Errorf("cancel: %v", err)
	}
	s.Return(booking{"1A"})
	s.ExpectDone("seat", "pay", "tell")
	s.ExpectState(booking{"1A"})
	s.ExpectStatus(sagas.Completed)
}

package supervision_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/supervision"
)

func TestNewLetter(t *testing.T) {
	panicked := recovered(explode)
	f := supervision.Failure{
		Err: fmt.Errorf("placing: %w", panicked), Attempt: 5, Delivery: 2,
		FirstAt: start, At: start.Add(time.Minute),
	}
	got := supervision.NewLetter(f, supervision.Verdict{Kind: supervision.DeadLetter, Reason: "5 attempts failed"})
	want := supervision.Letter{
		Reason:       "5 attempts failed",
		ErrorType:    "*supervision.PanicError",
		ErrorMessage: "placing: panic: boom",
		Stack:        string(panicked.Stack),
		Attempts:     5,
		Deliveries:   2,
		FirstFailure: start,
		LastFailure:  start.Add(time.Minute),
	}
	if got != want {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestErrorTypes(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{errBoom, "*errors.errorString"},
		{statusError{1}, "supervision_test.statusError"},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", statusError{1})), "supervision_test.statusError"},
		{supervision.Permanent(fmt.Errorf("a: %w", statusError{1})), "supervision_test.statusError"},
		{errors.Join(statusError{1}, errBoom), "supervision_test.statusError"},
		{fmt.Errorf("%w and %w", errBoom, statusError{1}), "*errors.errorString"},
		{&fs.PathError{Op: "open", Err: os.ErrNotExist}, "*fs.PathError"},
		{(*nilError)(nil), "*supervision_test.nilError"},
		{nil, "<nil>"},
	}
	for _, test := range tests {
		l := supervision.NewLetter(supervision.Failure{Err: test.err}, supervision.Verdict{})
		if l.ErrorType != test.want {
			t.Errorf("%#v: got %q, want %q", test.err, l.ErrorType, test.want)
		}
	}
}

func TestBriefLetter(t *testing.T) {
	l := supervision.Letter{Stack: "s", ErrorMessage: strings.Repeat("e", 1000), Reason: "why", Attempts: 3}
	brief := l.Brief()
	if brief.Stack != "" || brief.Reason != "why" || brief.Attempts != 3 || len(brief.ErrorMessage) != 128 {
		t.Errorf("got %+v", brief)
	}
	if l.Stack != "s" || len(l.ErrorMessage) != 1000 {
		t.Errorf("Brief changed its letter: %+v", l)
	}
}

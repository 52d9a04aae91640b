package supervision

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Letter is why, where and when a message died: what a dead letter says beside
// the message itself. [Encode] writes it, [Decode] reads it.
//
// Its texts are for people. They are made valid UTF-8, trimmed, and shortened
// where they are long; a text that was shortened ends in "…".
type Letter struct {
	// Reason is the verdict's.
	Reason string
	// ErrorType is the Go type of the error, without wrappers of fmt and
	// errors, to group failures by.
	ErrorType string
	// ErrorMessage is the error's text.
	ErrorMessage string
	// Stack is where it panicked; empty if it did not.
	Stack string
	// Attempts is how often the message was handled and failed.
	Attempts int
	// Deliveries is how often it was delivered; 0 where nobody counted.
	Deliveries int
	// FirstFailure and LastFailure are when the first and the last attempt
	// failed. LastFailure is also the dead letter's Message.Time.
	FirstFailure, LastFailure time.Time
	// Group is the consumer group that gave up.
	Group string
	// Actor names the actor, Handler its handler, Host the machine it ran on.
	Actor, Handler, Host string
	// Broker is the name of the broker (brokers.Broker.Name); it chooses the
	// [Aliases].
	Broker string
	// Replays is how often the message had been replayed before it died, as
	// its ID tells: see [Replay]. Encode sets it.
	Replays int
}

// NewLetter fills in what failure and verdict know; where it happened is the
// caller's to add.
func NewLetter(f Failure, v Verdict) Letter {
	l := Letter{
		Reason:       v.Reason,
		ErrorType:    errorType(f.Err),
		ErrorMessage: fmt.Sprint(f.Err), // not Error(), which panics on a typed nil
		Attempts:     f.Attempt,
		Deliveries:   f.Delivery,
		FirstFailure: f.FirstAt,
		LastFailure:  f.At,
	}
	if p, ok := errors.AsType[*PanicError](f.Err); ok {
		l.Stack = string(p.Stack)
	}
	return l
}

// briefText bounds each text of a brief letter, in bytes.
const briefText = 128

// Brief returns the letter without its stack and with short texts, under 3 KiB
// encoded for a message of ordinary ids: for a message so close to the broker's
// limit that its dead letter was refused with brokers.ErrTooLarge.
func (l Letter) Brief() Letter {
	l.Stack = ""
	for _, t := range l.texts() {
		*t.text = shorten(*t.text, briefText)
	}
	return l
}

// errorType names the first error in the chain that somebody made a type for.
func errorType(err error) string {
	for {
		inner := unwrapFirst(err)
		if inner == nil || !isWrapper(err) {
			return fmt.Sprintf("%T", err)
		}
		err = inner
	}
}

func isWrapper(err error) bool {
	if _, ok := err.(*mark); ok { //nolint:errorlint // this link of the chain, not the next
		return true
	}
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == "fmt" || t.PkgPath() == "errors"
}

func unwrapFirst(err error) error {
	switch e := err.(type) { //nolint:errorlint // this link of the chain, not the next
	case interface{ Unwrap() error }:
		return e.Unwrap()
	case interface{ Unwrap() []error }:
		if all := e.Unwrap(); len(all) > 0 {
			return all[0]
		}
	}
	return nil
}

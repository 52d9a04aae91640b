package brokers

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrRevoked says that the epoch of a partition has ended or is to end. Its
	// owner starts nothing more of it; what was not acknowledged is delivered
	// to the next owner.
	ErrRevoked = errors.New("brokers: partition revoked")
	// ErrClosed says that the publisher, subscription or broker was closed by
	// its user.
	ErrClosed = errors.New("brokers: closed")
	// ErrUnknownTopic says that the topic does not exist, as the broker said when
	// asked: make it with EnsureTopic, or mend its name. A message to it is
	// NotSent.
	ErrUnknownTopic = errors.New("brokers: unknown topic")
	// ErrTooLarge says that a message is over a limit. Sending it again never helps.
	ErrTooLarge = errors.New("brokers: message too large")
	// ErrInvalid says that a message or a config breaks a rule, of this package
	// or of the broker; the text names the field. Sending it again never helps.
	ErrInvalid = errors.New("brokers: invalid")
	// ErrUnroutable says that the broker has no queue for the message
	// (RabbitMQ, mandatory): the text names exchange and routing key. The message
	// was not stored and is Refused: make the group with EnsureTopic first.
	ErrUnroutable = errors.New("brokers: unroutable")
	// ErrUnsupported says that this broker cannot do what was asked; Features
	// say beforehand.
	ErrUnsupported = errors.New("brokers: unsupported")
)

// Outcome is what is known of a message whose publish failed.
type Outcome uint8

const (
	// NotSent: the broker does not have it and will not get it.
	NotSent Outcome = iota
	// Unknown: it may have been stored. Publishing it again may store it twice,
	// with the same ID.
	Unknown
	// Refused: the broker or a check refused it for good.
	Refused
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case NotSent:
		return "not sent"
	case Unknown:
		return "outcome unknown"
	case Refused:
		return "refused"
	}
	return "invalid outcome"
}

// SendError is why one message was not confirmed.
type SendError struct {
	// Outcome is what is known of it.
	Outcome Outcome
	// Err is the cause.
	Err error
}

// Error says outcome and cause.
func (e *SendError) Error() string { return fmt.Sprintf("%s: %v", e.Outcome, e.Err) }

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

// Retryable says whether publishing the message again can help.
func (e *SendError) Retryable() bool { return e.Outcome != Refused }

// PublishError says which messages of one Publish were not confirmed. The
// others were, and have their receipts.
type PublishError struct {
	// Failures are in the order of the call.
	Failures []PublishFailure
	// Of is how many messages the call had.
	Of int
}

// PublishFailure is one unconfirmed message of a Publish.
type PublishFailure struct {
	// Index is the message's place in the call.
	Index int
	// ID is its message id.
	ID string
	SendError
}

// Error names the first failures.
func (e *PublishError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "brokers: %d of %d messages not confirmed", len(e.Failures), e.Of)
	for i := range e.Failures {
		if i == 3 {
			b.WriteString("; ...")
			break
		}
		f := &e.Failures[i]
		fmt.Fprintf(&b, "; #%d %s", f.Index, f.SendError.Error())
	}
	return b.String()
}

// Unwrap returns the causes, for errors.Is and errors.As.
func (e *PublishError) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i := range e.Failures {
		errs[i] = &e.Failures[i].SendError
	}
	return errs
}

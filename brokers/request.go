package brokers

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNoResponders says that nobody serves the topic of a request now: the
// request was handled by nobody. It comes at once, not at the deadline. Ask
// again later, or start a responder.
var ErrNoResponders = errors.New("brokers: no responders")

// Codes of a [ReplyError] that are not the responder's own. Those of users
// should be others.
const (
	// CodeInternal: the handler failed with an error that is no ReplyError, or
	// panicked. What it has done is not known.
	CodeInternal = "internal"
	// CodeInvalid: the request could not be read. Sending it again never helps.
	CodeInvalid = "invalid"
	// CodeNotOwned: the key's partition is on the move, and nobody handled the
	// request. Ask again.
	CodeNotOwned = "not_owned"
	// CodeOverloaded: too much waits at the responder, which did not handle the
	// request. Ask again later.
	CodeOverloaded = "overloaded"
	// CodeDeadline: the request's time was over before its handler had finished.
	CodeDeadline = "deadline"
)

// ReplyError is an error that a responder answered with. It travels as data
// beside the payload, never as a payload that looks like a result.
type ReplyError struct {
	// Code is for programs: one of the Code constants, or the responder's own.
	Code string
	// Message is for people.
	Message string
}

// Error says code and message.
func (e *ReplyError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// ReplyErrorOf returns err as it travels: the ReplyError that it wraps, or one
// of [CodeDeadline] or [CodeInternal].
func ReplyErrorOf(err error) *ReplyError {
	var e *ReplyError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &ReplyError{Code: CodeDeadline, Message: err.Error()}
	}
	return &ReplyError{Code: CodeInternal, Message: err.Error()}
}

// Requests is request and reply, which a [Broker] implements that can
// (Features.RequestReply). It is at most once: neither request nor reply is
// stored, and a request whose answer did not come may have been handled. Package
// actors/requests has it typed, with handlers and with key actors as responders.
//
// All methods may be called concurrently.
type Requests interface {
	// Request sends m to the responders of m.Topic, one of which answers, and
	// waits for its reply. Without a deadline of ctx it waits for
	// DefaultRequestTimeout. The time that is left travels with the request, and
	// the driver matches the reply to it, whatever m.ReplyTo and m.CorrelationID
	// are; the latter reaches the responder, and comes back in the reply unless
	// that has its own. A reply that comes too late reaches nobody.
	//
	// The error is a [*ReplyError] that was answered, [ErrNoResponders] at once,
	// [ErrInvalid] or [ErrTooLarge] if the request was not sent, ctx's cause, or
	// what became of the connection; then it is not known whether the request
	// was handled.
	Request(ctx context.Context, m Message) (Message, error)
	// Respond answers the requests to a topic until it is closed. When it returns
	// requests arrive.
	Respond(ctx context.Context, cfg RespondConfig, answer AnswerFunc) (Responder, error)
}

// DefaultRequestTimeout is how long a request without a deadline waits.
const DefaultRequestTimeout = 5 * time.Second

// AnswerFunc answers one request. ctx ends with the request's time, and when the
// responder's Close has waited long enough; m is valid until it returns. An
// error is answered as [ReplyErrorOf] has it, and so is a panic, as CodeInternal.
type AnswerFunc func(ctx context.Context, m *Message) (Message, error)

// RespondConfig is what to answer, and how much of it at once.
type RespondConfig struct {
	// Topic that requests are sent to. Required.
	Topic string
	// Group shares the requests: each goes to one responder of a group. Of
	// several groups at one topic each answers, and the first reply counts.
	// Defaults to "responders".
	Group string
	// Concurrency is how many requests are handled at once. Defaults to 64.
	Concurrency int
	// MaxPending is how many more may wait here. What comes beyond them is
	// answered with CodeOverloaded at once. Defaults to 1,024.
	MaxPending int
}

// WithDefaults returns the config that a driver works with, or [ErrInvalid] with
// the field's name.
func (c RespondConfig) WithDefaults() (RespondConfig, error) {
	switch {
	case c.Topic == "":
		return c, fmt.Errorf("%w: RespondConfig.Topic is empty", ErrInvalid)
	case c.Concurrency < 0:
		return c, fmt.Errorf("%w: RespondConfig.Concurrency is %d", ErrInvalid, c.Concurrency)
	case c.MaxPending < 0:
		return c, fmt.Errorf("%w: RespondConfig.MaxPending is %d", ErrInvalid, c.MaxPending)
	}
	if c.Group == "" {
		c.Group = "responders"
	}
	if c.Concurrency == 0 {
		c.Concurrency = 64
	}
	if c.MaxPending == 0 {
		c.MaxPending = 1024
	}
	return c, nil
}

// Responder is a topic that is being answered.
type Responder interface {
	// Close takes no more requests, and waits until those that were taken are
	// answered, or ctx ends; then it ends their contexts, and returns ctx's
	// cause. A second Close returns nil.
	Close(ctx context.Context) error
}

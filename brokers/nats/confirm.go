package nats

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// Error codes of the server that tell more than their class does.
const (
	codeMessageTooLarge = 10054
	codeHeadersTooLarge = 10097
	// codeInProcess: the id is that of a message which the servers of a cluster
	// have not agreed upon yet. It may still be stored, or lost with its leader.
	codeInProcess = 10158
	// codeTooMany: the stream has no room for what it has to do.
	codeTooMany = 10167
)

// confirmation is the server's answer to one publish.
type confirmation struct {
	seq       uint64
	duplicate bool
}

// answer is a confirmation as it comes.
type answer struct {
	Stream    string              `json:"stream"`
	Seq       uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
}

// parseConfirmation reads an answer. The error is a [*brokers.SendError].
func parseConfirmation(m *nats.Msg) (confirmation, error) {
	if c, ok := quickConfirmation(m.Data); ok {
		return c, nil
	}
	if len(m.Data) == 0 {
		// Nobody listens on the subject: no stream, or one without a leader.
		return confirmation{}, &brokers.SendError{Outcome: brokers.NotSent, Err: jetstream.ErrNoStreamResponse}
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return confirmation{}, &brokers.SendError{Outcome: brokers.Unknown, Err: fmt.Errorf("nats: confirmation: %w", err)}
	}
	if a.Error != nil {
		return confirmation{}, refusal(a.Error)
	}
	if a.Stream == "" || a.Seq == 0 {
		return confirmation{}, &brokers.SendError{Outcome: brokers.Unknown, Err: jetstream.ErrInvalidJSAck}
	}
	return confirmation{seq: a.Seq, duplicate: a.Duplicate}, nil
}

// refusal is an error of the server as a SendError. Codes of 400 are about the
// message, those of 500 about the server's state.
func refusal(err *jetstream.APIError) *brokers.SendError {
	switch {
	case err.ErrorCode == codeMessageTooLarge || err.ErrorCode == codeHeadersTooLarge:
		return &brokers.SendError{Outcome: brokers.Refused, Err: fmt.Errorf("%w: %w", brokers.ErrTooLarge, err)}
	case err.ErrorCode == codeInProcess:
		return &brokers.SendError{Outcome: brokers.Unknown, Err: err}
	case err.Code >= 400 && err.Code < 500 && err.ErrorCode != codeTooMany:
		return &brokers.SendError{Outcome: brokers.Refused, Err: fmt.Errorf("%w: %w", brokers.ErrInvalid, err)}
	}
	return &brokers.SendError{Outcome: brokers.NotSent, Err: err}
}

var (
	streamMark    = []byte(`{"stream":"`)
	seqMark       = []byte(`"seq":`)
	duplicateMark = []byte(`"duplicate":`)
)

// quickConfirmation reads an answer as the server writes most of them:
// {"stream":"S", "seq":1}, perhaps with "duplicate": true.
func quickConfirmation(data []byte) (c confirmation, ok bool) {
	rest, ok := bytes.CutPrefix(data, streamMark)
	if !ok {
		return c, false
	}
	_, rest, ok = bytes.Cut(rest, seqMark)
	if !ok {
		return c, false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		c.seq = c.seq*10 + uint64(rest[digits]-'0')
		digits++
	}
	if c.seq == 0 || digits > 19 || digits == len(rest) {
		return c, false
	}
	if rest[digits] == '}' {
		return c, true
	}
	_, rest, ok = bytes.Cut(rest[digits:], duplicateMark)
	c.duplicate = ok && bytes.HasPrefix(bytes.TrimLeft(rest, " "), []byte("true"))
	return c, ok
}

package sagas

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// Headers of replies.
const (
	headerResult = "saga-result"
	headerReason = "saga-reason"
)

// ErrNoReply says that a message is no reply to a saga's command, or a command
// that wants none.
var ErrNoReply = errors.New("sagas: not a reply")

// Lifecycle is something that happened to an instance: what is published to
// Config.Events, and what Config.Observe is told.
type Lifecycle struct {
	Definition, ID string
	Version        int
	Revision       uint64
	Status         Status
	// Began is when the instance was started.
	Began time.Time
	Entry
	// State is the instance's, after it.
	State any
	// Trace are the instance's headers of that name. An event of Config.Events has
	// them as its own.
	Trace brokers.Headers `json:"-"`
}

func (r *Runner[S]) lifecycle(u *Unit, i int, in Instance[S]) Lifecycle {
	return Lifecycle{
		Definition: in.Definition, ID: in.ID, Version: in.Version, Revision: u.Record.Revision + 1, Status: in.Status, Began: in.Began, Entry: u.Log[i], State: in.State, Trace: in.Trace,
	}
}

// publish adds what a transition publishes: commands, what happened, and the reply
// that led to nothing, as a dead letter.
func (r *Runner[S]) publish(u *Unit, t Transition[S], o occasion) error {
	for i := range t.Commands {
		m, err := r.command(&t.Commands[i], &t.Instance)
		if err != nil {
			return err
		}
		u.Messages = append(u.Messages, m)
	}
	if r.cfg.Events != "" {
		for i := range u.Log {
			payload, err := json.Marshal(r.lifecycle(u, i, t.Instance))
			if err != nil {
				return fmt.Errorf("sagas: event of %q: %w", t.Instance.ID, err)
			}
			u.Messages = append(u.Messages, brokers.Message{
				Topic: r.cfg.Events, Key: []byte(t.Instance.ID), Payload: payload, ContentType: "application/json", Time: u.Log[i].At,
				ID:      fmt.Sprintf("%s/%s/%d/%d", t.Instance.Definition, t.Instance.ID, u.Record.Revision+1, i),
				Headers: append(brokers.Headers{{Key: "type", Value: []byte(u.Log[i].What)}}, t.Instance.Trace...),
			})
		}
	}
	if o.handled != nil && len(u.Log) == 1 && u.Log[0].What == ReplyIgnored {
		reason := fmt.Sprintf("late: the saga is %v", t.Instance.Status)
		u.Messages = append(u.Messages, r.deadLetter(o.handled, reason))
	}
	return nil
}

// command is a message whose id is that of the attempt.
func (r *Runner[S]) command(c *Message, in *Instance[S]) (brokers.Message, error) {
	payload, err := json.Marshal(c.Body)
	if err != nil {
		return brokers.Message{}, fmt.Errorf("sagas: encode the command %s: %w", c.IdempotencyKey, err)
	}
	m := brokers.Message{
		Topic: c.Topic, Key: c.Key, Payload: payload, ContentType: "application/json", Headers: c.Headers,
		ID: fmt.Sprintf("%s#%d", c.IdempotencyKey, in.Token), CorrelationID: c.IdempotencyKey, ReplyTo: r.cfg.Replies,
	}
	if c.Type != "" {
		m.Headers = m.Headers.With("type", []byte(c.Type))
	}
	for _, h := range in.Trace {
		m.Headers = m.Headers.With(h.Key, h.Value)
	}
	return m, nil
}

func (r *Runner[S]) deadLetter(m *brokers.Message, reason string) brokers.Message {
	now := time.Now()
	v := supervision.Verdict{Kind: supervision.DeadLetter, Reason: reason}
	letter := supervision.Encode(m, supervision.NewLetter(supervision.Failure{Err: errors.New(reason), Message: m, Attempt: 1, FirstAt: now, At: now}, v), r.cfg.DeadLetters)
	if letter.ID == "" {
		letter.ID = m.ID
	}
	return letter
}

// Answer is a participant's reply to a command, for it to publish in the
// transaction of what it did. Its CorrelationID, which is the same for each
// attempt, tells the participant a repeat; a repeat is answered again. The reply is
// of the command's trace.
func Answer(command *brokers.Message, result Result, reason string, body any) (brokers.Message, error) {
	_, id, _, _, ok := ParseKey(command.CorrelationID)
	if !ok || command.ReplyTo == "" {
		return brokers.Message{}, fmt.Errorf("%w: command %q has no ReplyTo, or the CorrelationID %q", ErrNoReply, command.ID, command.CorrelationID)
	}
	m := brokers.Message{
		Topic: command.ReplyTo, Key: []byte(id), ID: command.ID + ">", CorrelationID: command.CorrelationID, ContentType: "application/json",
		Headers: append(brokers.Headers{{Key: headerResult, Value: []byte(result.String())}}, command.Headers.Trace()...),
	}
	if reason != "" {
		m.Headers = m.Headers.With(headerReason, []byte(reason))
	}
	var err error
	if m.Payload, err = json.Marshal(body); err != nil {
		return m, fmt.Errorf("sagas: encode the answer to %s: %w", command.CorrelationID, err)
	}
	return m, nil
}

// parseReply reads an Answer.
func parseReply(m *brokers.Message) (definition, id string, reply Reply, err error) {
	definition, id, _, _, ok := ParseKey(m.CorrelationID)
	reply = Reply{Key: m.CorrelationID, Reason: m.Headers.Text(headerReason), Payload: m.Payload}
	for _, result := range []Result{Accepted, Rejected, Failed} {
		if result.String() == m.Headers.Text(headerResult) {
			reply.Result = result
		}
	}
	if !ok || reply.Result == 0 || m.ID == "" {
		return "", "", reply, fmt.Errorf("%w: id %q, CorrelationID %q, %s %q", ErrNoReply, m.ID, m.CorrelationID, headerResult, m.Headers.Text(headerResult))
	}
	return definition, id, reply, nil
}

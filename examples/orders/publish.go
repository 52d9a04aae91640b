package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

const (
	linesTopic = "lines"
	lineType   = "line" // the event's type name
)

// publish publishes every line of the input, and returns when the broker has
// confirmed all. The first row that it does not take ends it.
func (j *job) publish(ctx context.Context) error {
	publisher, err := j.broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	going, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	sent := j.send(going, publisher, fail)
	closed := publisher.Close(going)
	if cause := context.Cause(going); cause != nil {
		return cause
	}
	return errors.Join(sent, closed)
}

func (j *job) send(ctx context.Context, publisher *brokers.Publisher, fail context.CancelCauseFunc) error {
	row := 0
	for l, err := range j.input.lines {
		if err != nil {
			return err
		}
		if row = l.Row; row > j.input.rows {
			break
		}
		m, err := j.message(l)
		if err != nil {
			return err
		}
		err = publisher.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) {
			if err != nil {
				fail(fmt.Errorf("publish row %d: %w", l.Row, err))
				return
			}
			j.progress.journal.confirmed(m.ID)
			j.progress.published.Add(1)
		})
		if err != nil {
			return fmt.Errorf("publish row %d: %w", l.Row, err)
		}
	}
	if row != j.input.rows {
		return fmt.Errorf("%s: had %d rows and now has others", j.input.name, j.input.rows)
	}
	return nil
}

// message is a line as an event. Lines without a customer have an empty key,
// which is a key: they are handled in order, too.
func (j *job) message(l line) (brokers.Message, error) {
	m := brokers.Message{
		ID: messageID(j.progress.run, l.Row), Topic: j.options.prefix + linesTopic, Key: []byte(l.Customer),
		Headers: brokers.Headers{{Key: "type", Value: []byte(lineType)}},
	}
	err := actors.JSON{}.Encode(l, &m)
	return m, err
}

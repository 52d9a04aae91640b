package scenarios

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// Scenario X08, of dead letters: an error whose text no broker takes in a header is
// shortened, and the message dead-lettered all the same.
func TestVerboseFailure(t *testing.T) {
	onEach(t, func(t *testing.T, broker brokers.Broker) {
		const bytes = 200_000
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		group, review := "group-"+uuid.NewString(), "review-"+uuid.NewString()
		in, dead := topic(ctx, t, broker, group), topic(ctx, t, broker, review)
		events := make(chan actors.Event, 100)
		defer start(t, actors.Subscription{
			Group: group, Broker: broker, Topics: []string{in}, Policy: supervision.Policy{MaxAttempts: 1, DeadLetter: dead},
			Actor: actors.Func(func(context.Context, brokers.Message) error {
				return errors.New("the server answered: " + strings.Repeat("blah ", bytes/len("blah ")))
			}),
		}, events)()
		publish(ctx, t, broker, brokers.Message{Topic: in, ID: "1", Key: []byte("k"), Payload: []byte("body")})
		if died := await[actors.DeadLettered](ctx, t, events); len(died.Failure.Err.Error()) < bytes {
			t.Errorf("the event has %d bytes of the error", len(died.Failure.Err.Error()))
		}
		letter := theLetter(ctx, t, broker, dead, review)
		if m := letter.Original; string(m.Payload) != "body" || string(m.Key) != "k" ||
			!strings.HasPrefix(letter.ErrorMessage, "the server answered: blah") || len(letter.ErrorMessage) > bytes/10 {
			t.Errorf("the letter holds %+v, and %d bytes of the error", m, len(letter.ErrorMessage))
		}
		if err := letter.desk.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

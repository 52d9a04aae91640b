package scenarios

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
	"github.com/troupe-go/troupe/supervision/deadletters"
)

type event struct{ Name string }

type customer struct{ handled chan<- string }

func (c *customer) changed(ctx *actors.Context, _ event) error {
	c.handled <- ctx.Key()
	return nil
}

// Scenario B01: a tombstone that nobody handles is dead-lettered as it is, and
// replayed, and dead-lettered again, five times, without growing. What is behind
// it goes on.
func TestTombstone(t *testing.T) {
	onEach(t, func(t *testing.T, broker brokers.Broker) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		group, review := "group-"+uuid.NewString(), "review-"+uuid.NewString()
		in, dead := topic(ctx, t, broker, group), topic(ctx, t, broker, review)
		headers := brokers.Headers{{Key: "trace", Value: []byte{0, 0xff, 0xfe, 0x0a}}, {Key: "trace", Value: []byte("2")}, {Key: "flag", Value: []byte{}}}
		events := make(chan actors.Event, 100)
		handled := make(chan string, 10)
		stop := start(t, actors.Subscription{
			Group: group, Broker: broker, Topics: []string{in}, Actor: customers(handled),
			Policy: supervision.Policy{MaxAttempts: 2, DeadLetter: dead},
		}, events)
		defer stop()
		publish(ctx, t, broker,
			brokers.Message{Topic: in, ID: "1", Key: []byte("c-17"), Headers: headers},
			brokers.Message{Topic: in, ID: "2", Key: []byte("c-18"), Payload: []byte("{}")},
		)
		if key := <-handled; key != "c-18" {
			t.Errorf("key %q was handled", key)
		}
		var size int
		for round := range 6 {
			died := await[actors.DeadLettered](ctx, t, events)
			if died.Failure.Attempt != 1 || !errors.Is(died.Failure.Err, actors.ErrTombstone) {
				t.Fatalf("round %d: %+v", round, died)
			}
			letter := theLetter(ctx, t, broker, dead, review)
			m := letter.Original
			if m.Payload != nil || string(m.Key) != "c-17" || !slices.EqualFunc(m.Headers, headers, sameHeader) || letter.Replays != round {
				t.Fatalf("round %d: the letter holds %q=%v, headers %v, after %d replays", round, m.Key, m.Payload, m.Headers, letter.Replays)
			}
			if round == 1 {
				size = letter.size
			} else if round > 1 && letter.size != size {
				t.Errorf("round %d: the letter has %d bytes, and had %d", round, letter.size, size)
			}
			letter.replay(ctx, t)
		}
	})
}

func customers(handled chan<- string) actors.Actor {
	b := actors.PerKey(func(string) *customer { return &customer{handled} })
	actors.On(b, "changed", (*customer).changed)
	return b
}

func sameHeader(a, b brokers.Header) bool {
	return a.Key == b.Key && slices.Equal(a.Value, b.Value)
}

// start runs a system. What stop returns ends it.
func start(t *testing.T, sub actors.Subscription, events chan<- actors.Event) (stop func()) {
	t.Helper()
	sys, err := actors.NewSystem(actors.Config{Observe: func(e actors.Event) { events <- e }}, sub)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := sys.Run(ctx)
		ended <- err
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func publish(ctx context.Context, t *testing.T, broker brokers.Broker, messages ...brokers.Message) {
	t.Helper()
	p, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(ctx, messages...); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// await waits for an event of a type.
func await[E actors.Event](ctx context.Context, t *testing.T, events <-chan actors.Event) E {
	t.Helper()
	for {
		select {
		case e := <-events:
			if e, ok := e.(E); ok {
				return e
			}
		case <-ctx.Done():
			t.Fatal("the event did not come")
		}
	}
}

// desked is the one letter that lies there.
type desked struct {
	deadletters.Letter

	desk *deadletters.Desk
	size int
}

func theLetter(ctx context.Context, t *testing.T, broker brokers.Broker, dead, group string) desked {
	t.Helper()
	desk, err := deadletters.Open(ctx, deadletters.Config{Broker: broker, Topic: dead, Group: group, Quiet: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	letters := desk.Letters(deadletters.Filter{})
	if len(letters) != 1 {
		t.Fatalf("%d letters, want 1", len(letters))
	}
	raw := letters[0].Raw()
	return desked{letters[0], desk, raw.Size()}
}

func (d desked) replay(ctx context.Context, t *testing.T) {
	t.Helper()
	report, err := d.desk.Replay(ctx, deadletters.Filter{}, deadletters.Options{MaxReplays: -1})
	if err != nil || report.Done != 1 {
		t.Fatalf("%v, %v", report, err)
	}
	if err := d.desk.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

package scenarios

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
	"github.com/troupe-go/troupe/supervision"
	"github.com/troupe-go/troupe/supervision/deadletters"
)

var errNeverTaken = errors.New("it is never taken")

// A message that cannot be handled is left to the broker's own dead-letter exchange,
// and what is behind it, of its key too, goes on. A desk at the queue of the dead
// reads what the broker says of it, and replays it.
func TestRejected(t *testing.T) {
	for version, variable := range map[string]string{"3.10": "TEST_AMQP_URL", "4.0": "TEST_AMQP4_URL"} {
		for name, unordered := range map[string]bool{"Ordered": false, "Competing": true} {
			t.Run(version+"/"+name, func(t *testing.T) {
				t.Parallel()
				url := os.Getenv(variable)
				if url == "" {
					if os.Getenv("REQUIRE_BROKERS") == "1" {
						t.Fatal(variable + " is not set, and REQUIRE_BROKERS is")
					}
					t.Skip(variable + " is not set")
				}
				rejected(t, url, unordered)
			})
		}
	}
}

func rejected(t *testing.T, url string, unordered bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	group, in, dead := "group-"+uuid.NewString(), "scenario-"+uuid.NewString(), "dead-"+uuid.NewString()
	open := func(cfg rabbitmq.Config) *rabbitmq.Broker {
		dsn, err := brokers.ParseDSN(url)
		if err != nil {
			t.Fatal(err)
		}
		from, err := rabbitmq.ConfigFrom(dsn)
		if err != nil {
			t.Fatal(err)
		}
		from.DeadLetter, from.Queues = cfg.DeadLetter, cfg.Queues
		b, err := rabbitmq.Open(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return b
	}
	broker := open(rabbitmq.Config{
		DeadLetter: rabbitmq.DeadLetter{Exchange: dead},
		Queues:     map[string]rabbitmq.Queue{"the dead": {Name: dead}},
	})
	_, err := broker.ApplyTopology(ctx, rabbitmq.Topology{
		Exchanges: []rabbitmq.ExchangeConfig{{Name: dead, Kind: rabbitmq.ExchangeFanout}},
		Queues:    []rabbitmq.QueueConfig{{Name: dead}},
		Bindings:  []rabbitmq.BindingConfig{{Exchange: dead, Queue: dead}},
	}, rabbitmq.TopologyDeclare)
	if err != nil {
		t.Fatal(err)
	}
	topic := brokers.TopicConfig{Name: in, Partitions: 1}
	if topic.Groups = []string{group}; unordered {
		topic.Groups, topic.Competing = nil, topic.Groups
	}
	if err := broker.EnsureTopic(ctx, topic); err != nil {
		t.Fatal(err)
	}

	events, handled := make(chan actors.Event, 100), make(chan string, 10)
	stop := start(t, actors.Subscription{
		Group: group, Broker: broker, Topics: []string{in}, Unordered: unordered,
		Policy: supervision.Policy{MaxAttempts: 2, Backoff: supervision.Constant(time.Millisecond), Reject: true},
		Actor: actors.Func(func(_ context.Context, m brokers.Message) error {
			if string(m.Payload) == "never" {
				return errNeverTaken
			}
			handled <- string(m.Payload)
			return nil
		}),
	}, events)
	publish(ctx, t, broker,
		brokers.Message{Topic: in, ID: "1", Key: []byte("k"), Payload: []byte("never"), Headers: brokers.Headers{{Key: "type", Value: []byte("T")}}},
		brokers.Message{Topic: in, ID: "2", Key: []byte("k"), Payload: []byte("behind")},
	)
	if died := await[actors.DeadLettered](ctx, t, events); died.Failure.Attempt != 2 || !errors.Is(died.Failure.Err, errNeverTaken) {
		t.Errorf("dead-lettered: %+v", died)
	}
	if text := <-handled; text != "behind" {
		t.Errorf("%q was handled", text)
	}
	stop() // what was rejected is, when the partition is given back

	desk, err := deadletters.Open(ctx, deadletters.Config{Broker: broker, Topic: "the dead", Group: "review", Quiet: 500 * time.Millisecond, Mode: brokers.ModeCompeting})
	if err != nil {
		t.Fatal(err)
	}
	letters := desk.Letters(deadletters.Filter{})
	if len(letters) != 1 {
		t.Fatalf("%d letters, want 1", len(letters))
	}
	if m := letters[0].Original; string(m.Payload) != "never" || string(m.Key) != "k" || m.ID != "1" || letters[0].Reason != "rejected" {
		t.Errorf("the letter: %+v", letters[0])
	}
	if err := desk.Close(ctx); err != nil {
		t.Error(err)
	}
}

// Brokers that would drop what is rejected refuse the policy when the system is made.
func TestRejectedNowhere(t *testing.T) {
	broker, err := brokers.Open(t.Context(), "memory://", memory.Driver)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	_, err = actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: "g", Broker: broker, Topics: []string{"in"}, Policy: supervision.Policy{Reject: true},
		Actor: actors.Func(func(context.Context, brokers.Message) error { return nil }),
	})
	if err == nil {
		t.Error("a system that rejects was made on memory")
	}
}

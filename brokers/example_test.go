package brokers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// Publish two messages of one key, own their partition, read them and settle
// them.
func Example() {
	ctx := context.Background()
	broker, err := brokers.Open(ctx, "memory://", memory.Driver)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := errors.Join(roundTrip(ctx, broker), broker.Close()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 2 confirmed
	// ada: placed
	// ada: paid
}

func roundTrip(ctx context.Context, broker brokers.Broker) error {
	if err := broker.EnsureTopic(ctx, brokers.TopicConfig{Name: "orders", Partitions: 1, Groups: []string{"billing"}}); err != nil {
		return err
	}
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	receipts, err := publisher.Publish(ctx,
		brokers.Message{Topic: "orders", Key: []byte("ada"), Payload: []byte("placed")},
		brokers.Message{Topic: "orders", Key: []byte("ada"), Payload: []byte("paid")})
	if err != nil {
		return err
	}
	fmt.Println(len(receipts), "confirmed")

	subscription, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		return err
	}
	partition, err := subscription.Accept(ctx)
	if err != nil {
		return err
	}
	for left := len(receipts); left > 0; {
		messages, err := partition.Fetch(ctx, brokers.FetchLimit{Messages: left})
		if err != nil {
			return err
		}
		for _, m := range messages {
			fmt.Printf("%s: %s\n", m.Key, m.Payload)
		}
		left -= len(messages)
		if err := partition.Ack(brokers.Ack{UpTo: messages[len(messages)-1].Offset}); err != nil {
			return err
		}
	}
	return errors.Join(partition.Close(ctx), subscription.Close(ctx), publisher.Close(ctx))
}

// Of several messages some may fail. The error says which, and which of them to
// publish again.
func ExamplePublisher_Publish() {
	ctx := context.Background()
	broker := memory.New(memory.Config{})
	publisher, err := broker.Publisher(brokers.PublisherConfig{MaxMessageBytes: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = publisher.Publish(ctx,
		brokers.Message{ID: "1", Topic: "orders", Payload: []byte("small")},
		brokers.Message{ID: "2", Topic: "orders", Payload: []byte(strings.Repeat("large", 100))})
	var failed *brokers.PublishError
	if errors.As(err, &failed) {
		for _, f := range failed.Failures {
			fmt.Println(f.ID, f.Outcome, f.Retryable(), errors.Is(&f, brokers.ErrTooLarge))
		}
	}
	if err := broker.Close(); err != nil {
		fmt.Println(err)
	}
	// Output: 2 refused false true
}

// Publish at full speed, and learn of each message what became of it.
func ExamplePublisher_PublishAsync() {
	ctx := context.Background()
	broker := memory.New(memory.Config{})
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	confirmed := 0
	for i := range 1000 {
		m := brokers.Message{Topic: "orders", Key: fmt.Appendf(nil, "customer-%d", i%10)}
		if err := publisher.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) {
			if err == nil {
				confirmed++ // one call at a time
			}
		}); err != nil {
			fmt.Println(err)
		}
	}
	if err := errors.Join(publisher.Close(ctx), broker.Close()); err != nil { // the first waits for all
		fmt.Println(err)
	}
	fmt.Println(confirmed)
	// Output: 1000
}

// A secret does not get out by accident.
func ExampleSecret() {
	password := brokers.NewSecret("hunter2")
	fmt.Println(password)
	fmt.Printf("%#v\n", struct{ Password brokers.Secret }{password})
	plain := slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	slog.New(slog.NewTextHandler(os.Stdout, &plain)).Info("login", "password", password)
	fmt.Println(password.Reveal() == "hunter2")
	// Output:
	// [redacted]
	// struct { Password brokers.Secret }{Password:[redacted]}
	// level=INFO msg=login password=[redacted]
	// true
}

package main

import (
	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// unmarshaler takes records that Watermill has not made.
type unmarshaler struct{}

func (unmarshaler) Unmarshal(r *sarama.ConsumerMessage) (*message.Message, error) {
	return message.NewMessage(string(r.Key), r.Value), nil
}

func (b *kafkaBench) prepareWatermillConsume(w work) consumer {
	return func(n int, joined func()) (run, clean func() error, err error) {
		return b.watermillConsume(w, n, joined)
	}
}

func (b *kafkaBench) watermillConsume(w work, n int, joined func()) (run, clean func() error, err error) {
	cfg := wmkafka.DefaultSaramaSubscriberConfig()
	cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
	subscriber, err := wmkafka.NewSubscriber(wmkafka.SubscriberConfig{
		Brokers: b.seeds, Unmarshaler: unmarshaler{}, OverwriteSaramaConfig: cfg, ConsumerGroup: "peers-" + uuid.NewString(),
	}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	c := newCountdown(n, joined)
	router.AddConsumerHandler("handler", b.topic, subscriber, func(*message.Message) error { w.do(); c.handled(); return nil })
	run, clean = c.during(router.Run, subscriber.Close)
	return run, clean, nil
}

func (b *kafkaBench) prepareWatermillPublish(n int) (run, clean func() error, err error) {
	publisher, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{
		Brokers: b.seeds,
		Marshaler: wmkafka.NewWithPartitioningMarshaler(func(_ string, m *message.Message) (string, error) {
			return m.Metadata.Get("key"), nil
		}),
	}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	run = func() error {
		for from := 0; from < n; from += kafkaCall {
			var messages []*message.Message
			for i := from; i < min(from+kafkaCall, n); i++ {
				m := message.NewMessage(watermill.NewUUID(), b.body(i))
				m.Metadata.Set("key", string(b.keys[i%len(b.keys)]))
				messages = append(messages, m)
			}
			if err := publisher.Publish(b.topic, messages...); err != nil {
				return err
			}
		}
		return nil
	}
	return run, publisher.Close, nil
}

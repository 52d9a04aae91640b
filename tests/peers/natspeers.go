package main

import (
	"github.com/ThreeDotsLabs/watermill"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	client "github.com/nats-io/nats.go"
)

// subject has Watermill use one of the topic's.
func subject(of string) wmnats.SubjectCalculator {
	return func(queueGroup, _ string) *wmnats.SubjectDetail {
		return &wmnats.SubjectDetail{Primary: of, QueueGroup: queueGroup}
	}
}

func (b *natsBench) prepareWatermillPublish(topic string, n int) (run, clean func() error, err error) {
	publisher, err := wmnats.NewPublisher(wmnats.PublisherConfig{
		URL: b.server.url, NatsOptions: b.server.options,
		JetStream: wmnats.JetStreamConfig{TrackMsgId: true},
	}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	run = func() error {
		for sent := 0; sent < n; {
			var batch []*message.Message
			for ; len(batch) < 100 && sent < n; sent++ {
				batch = append(batch, message.NewMessage(watermill.NewUUID(), b.body))
			}
			if err := publisher.Publish(topic+".p.0", batch...); err != nil {
				return err
			}
		}
		return nil
	}
	return run, publisher.Close, nil
}

func (b *natsBench) prepareWatermillConsume(topic string, n int, async bool) (run, clean func() error, err error) {
	group := "watermill-" + uuid.NewString()
	subscriber, err := wmnats.NewSubscriber(wmnats.SubscriberConfig{
		URL: b.server.url, NatsOptions: b.server.options, QueueGroupPrefix: group,
		Unmarshaler: plain{}, SubjectCalculator: subject(topic + ".p.0"),
		JetStream: wmnats.JetStreamConfig{
			AckAsync: async, DurablePrefix: group,
			SubscribeOptions: []client.SubOpt{client.DeliverAll(), client.AckExplicit(), client.BindStream(topic), client.MaxAckPending(2048)},
		},
	}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	c := newCountdown(n, nil)
	router.AddConsumerHandler("handler", topic, subscriber, func(*message.Message) error { c.handled(); return nil })
	run, clean = c.during(router.Run, subscriber.Close)
	return run, clean, nil
}

// plain takes messages that Watermill has not made.
type plain struct{}

func (plain) Unmarshal(m *client.Msg) (*message.Message, error) {
	return message.NewMessage(m.Header.Get(client.MsgIdHdr), m.Data), nil
}

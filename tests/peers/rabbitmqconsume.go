package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	wmamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

const (
	rawConsume  = "amqp091-go, prefetch 1000, multiple/500"
	rabbitGroup = "peers"
)

// consumeOrdered reads in order, from a queue with a single active consumer.
func (b *rabbitBench) consumeOrdered(o *options) (table, error) {
	b.mode = brokers.ModeOrdered
	return b.consume(o, "quorum queue with a single active consumer", b.makeTopic)
}

// consumeQuorum and consumeClassic have competing consumers read a queue of others.
func (b *rabbitBench) consumeQuorum(o *options) (table, error) {
	return b.consumeCompeting(o, rabbitmq.QueueQuorum)
}

func (b *rabbitBench) consumeClassic(o *options) (table, error) {
	return b.consumeCompeting(o, rabbitmq.QueueClassic)
}

func (b *rabbitBench) consumeCompeting(o *options, kind rabbitmq.QueueKind) (table, error) {
	b.mode = brokers.ModeCompeting
	return b.consume(o, fmt.Sprintf("%s queue, competing", kind), func() (func() error, error) {
		drop, err := b.makeQueue(kind)
		if err != nil {
			return nil, err
		}
		cfg := b.cfg
		cfg.Queues = map[string]rabbitmq.Queue{b.exchange: {Name: b.queue}}
		before := b.broker
		if b.broker, err = rabbitmq.Open(context.Background(), cfg); err != nil {
			b.broker = before
			return nil, errors.Join(err, drop())
		}
		return func() error {
			err := errors.Join(b.broker.Close(), drop())
			b.broker = before
			return err
		}, nil
	})
}

// consume reads what is written anew for each contender.
func (b *rabbitBench) consume(o *options, what string, make func() (drop func() error, err error)) (t table, err error) {
	drop, err := make()
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	n := o.messages(50_000)
	filled := func(p consumer) prepare {
		return func(n int) (run, clean func() error, err error) {
			if err := errors.Join(b.purge(), b.publish(n, brokers.OrderNone)); err != nil {
				return nil, nil, err
			}
			return fromJoined(p)(n)
		}
	}
	return o.compete(fmt.Sprintf("Consume, RabbitMQ, %s, %d bytes, %d keys", what, large, rabbitKeys), []contender{
		{rawConsume, "", n, filled(b.prepareRaw(500))},
		{"the same, each by itself", "", n, filled(b.prepareRaw(1))},
		{"troupe's driver alone", rawConsume, n, filled(b.prepareOwner)},
		{keyActors, rawConsume, n, filled(b.prepareSystem)},
		{"watermill-amqp, router", rawConsume, max(1, n/5), filled(b.prepareWatermillConsume)},
	})
}

// prepareRaw acknowledges every so many at once.
func (b *rabbitBench) prepareRaw(every int) consumer {
	return func(n int, joined func()) (run, clean func() error, err error) {
		ch, err := b.raw.Channel()
		if err != nil {
			return nil, nil, err
		}
		run = func() error {
			if err := ch.Qos(rabbitWindow, 0, false); err != nil {
				return err
			}
			deliveries, err := ch.Consume(b.queue, "", false, false, false, false, nil)
			if err != nil {
				return err
			}
			for got := 1; got <= n; got++ {
				d, ok := <-deliveries
				if !ok {
					return errors.New("the channel was closed")
				}
				if got == 1 {
					joined()
				}
				if got%every == 0 || got == n {
					if err := d.Ack(every > 1); err != nil {
						return err
					}
				}
			}
			return nil
		}
		return run, ch.Close, nil
	}
}

func (b *rabbitBench) prepareOwner(n int, joined func()) (run, clean func() error, err error) {
	ctx := context.Background()
	var s brokers.Subscription
	run = func() error {
		var err error
		if s, err = b.broker.Subscribe(ctx, b.subscription()); err != nil {
			return err
		}
		p, err := s.Accept(ctx)
		if err != nil {
			return err
		}
		joined()
		for got := 0; got < n; {
			batch, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 500})
			if err != nil {
				return err
			}
			got += len(batch)
			if err := p.Ack(brokers.Ack{UpTo: batch[len(batch)-1].Offset}); err != nil {
				return err
			}
		}
		return p.Close(ctx)
	}
	return run, func() error { return s.Close(ctx) }, nil
}

func (b *rabbitBench) subscription() brokers.SubscriptionConfig {
	return brokers.SubscriptionConfig{Group: rabbitGroup, Topics: []string{b.exchange}, Mode: b.mode, MaxUnsettled: rabbitWindow}
}

func (b *rabbitBench) prepareSystem(n int, joined func()) (run, clean func() error, err error) {
	c := newCountdown(n, nil)
	sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: rabbitGroup, Broker: joining{b.broker, joined}, Topics: []string{b.exchange}, Concurrency: workers,
		Unordered: b.mode == brokers.ModeCompeting,
		Actor:     actors.Func(func(context.Context, brokers.Message) error { c.handled(); return nil }),
	})
	if err != nil {
		return nil, nil, err
	}
	run, clean = running(sys, c)
	return run, clean, nil
}

// anyHeaders takes messages with headers of other types than string, which
// Watermill's own marshaler does not.
type anyHeaders struct{ wmamqp.Marshaler }

func (anyHeaders) Unmarshal(d amqp.Delivery) (*message.Message, error) {
	return message.NewMessage(d.MessageId, d.Body), nil
}

func (b *rabbitBench) prepareWatermillConsume(n int, joined func()) (run, clean func() error, err error) {
	cfg := b.watermill()
	cfg.Marshaler = anyHeaders{cfg.Marshaler}
	subscriber, err := wmamqp.NewSubscriber(cfg, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	c := newCountdown(n, joined)
	router.AddConsumerHandler("handler", b.queue, subscriber, func(*message.Message) error { c.handled(); return nil })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	run = func() error {
		go func() { ended <- router.Run(ctx) }()
		return c.await()
	}
	return run, func() error { stop(); return errors.Join(<-ended, subscriber.Close()) }, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

const rawPublish = "amqp091-go, confirm window of 1000"

func (b *rabbitBench) publishQuorum(o *options) (table, error) {
	return b.publishTable(o, rabbitmq.QueueQuorum)
}

func (b *rabbitBench) publishClassic(o *options) (table, error) {
	return b.publishTable(o, rabbitmq.QueueClassic)
}

func (b *rabbitBench) publishTable(o *options, kind rabbitmq.QueueKind) (t table, err error) {
	drop, err := b.makeQueue(kind)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	n := o.messages(40_000)
	emptied := func(publish func(n int) error) prepare {
		return func(n int) (run, clean func() error, err error) {
			return func() error { return publish(n) }, b.purge, nil
		}
	}
	ordered := func(order brokers.Order) prepare {
		return emptied(func(n int) error { return b.publish(n, order) })
	}
	return o.compete(fmt.Sprintf("Publish, RabbitMQ, %s queue, %d bytes, persistent, %d keys", kind, large, rabbitKeys), []contender{
		{rawPublish, "", n, emptied(b.publishRaw)},
		{"troupe, Order: None", rawPublish, n, ordered(brokers.OrderNone)},
		{"troupe, Order: PerKey", rawPublish, n, ordered(brokers.OrderPerKey)},
		{"watermill-amqp, with confirms", rawPublish, max(1, n/20), b.prepareWatermillPublish},
	})
}

// publishRaw publishes as users of the client do, with an id and a key, mandatory,
// and looks at each confirmation.
func (b *rabbitBench) publishRaw(n int) error {
	ch, err := b.raw.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, rabbitWindow))
	returns := ch.NotifyReturn(make(chan amqp.Return, rabbitWindow))
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	for i, out := 0, 0; i < n || out > 0; {
		if i < n && out < rabbitWindow {
			err := ch.Publish(b.exchange, routeKey, true, false, amqp.Publishing{
				MessageId: run + "/" + strconv.Itoa(i), DeliveryMode: amqp.Persistent, Timestamp: time.Now(),
				Headers: amqp.Table{"key": b.keys[i%len(b.keys)]}, Body: b.body,
			})
			if err != nil {
				return err
			}
			i, out = i+1, out+1
			continue
		}
		select {
		case c := <-confirms:
			if !c.Ack {
				return errors.New("not acknowledged")
			}
			out--
		case r := <-returns:
			return fmt.Errorf("returned: %s", r.ReplyText)
		}
	}
	return ch.Close()
}

func (b *rabbitBench) publish(n int, order brokers.Order) error {
	p, err := b.broker.Publisher(brokers.PublisherConfig{Order: order, MaxInFlight: rabbitWindow})
	if err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	ctx := context.Background()
	for i := range n {
		m := brokers.Message{Topic: b.exchange, Key: b.keys[i%len(b.keys)], Payload: b.body}
		err := p.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
		if err != nil {
			return err
		}
	}
	if err := p.Close(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// watermill is its configuration for the queue of the table.
func (b *rabbitBench) watermill() wmamqp.Config {
	cfg := wmamqp.NewDurableTopicConfig(b.url, b.exchange, b.queue)
	cfg.Exchange.Type = "direct"
	cfg.TopologyBuilder = existing{}
	cfg.Publish.GenerateRoutingKey = func(string) string { return routeKey }
	cfg.Publish.ConfirmDelivery = true
	cfg.Consume.Qos.PrefetchCount = rabbitWindow
	return cfg
}

// existing leaves queues and exchanges as they are.
type existing struct{}

func (existing) BuildTopology(*amqp.Channel, wmamqp.BuildTopologyParams, wmamqp.Config, watermill.LoggerAdapter) error {
	return nil
}

func (existing) ExchangeDeclare(*amqp.Channel, string, wmamqp.Config) error { return nil }

func (b *rabbitBench) prepareWatermillPublish(n int) (run, clean func() error, err error) {
	publisher, err := wmamqp.NewPublisher(b.watermill(), watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	run = func() error {
		for i := range n {
			m := message.NewMessage(watermill.NewUUID(), b.body)
			m.Metadata.Set("key", string(b.keys[i%len(b.keys)]))
			if err := publisher.Publish(b.exchange, m); err != nil {
				return err
			}
		}
		return nil
	}
	return run, func() error { return errors.Join(publisher.Close(), b.purge()) }, nil
}

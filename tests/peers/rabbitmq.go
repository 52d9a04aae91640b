package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

const (
	rabbitWindow = 1000 // unconfirmed, or unacknowledged
	rabbitKeys   = 10_000
)

// rabbitBench is what the contenders share.
type rabbitBench struct {
	url    string
	cfg    rabbitmq.Config
	broker *rabbitmq.Broker
	raw    *amqp.Connection
	keys   [][]byte
	body   []byte

	// Of the table that is being made: an exchange, and its queue, which is bound by
	// routeKey.
	exchange, queue string
	mode            brokers.Mode // of who consumes
}

const routeKey = "0"

// onRabbitMQ has tables made on the server of TEST_AMQP_URL.
func onRabbitMQ(tables ...func(*rabbitBench, *options) (table, error)) func(*options) ([]table, error) {
	return func(o *options) (made []table, err error) {
		b, err := newRabbitBench()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.broker.Close(), b.raw.Close()) }()
		for _, run := range tables {
			t, err := run(b, o)
			if err != nil {
				return nil, err
			}
			made = append(made, t)
		}
		return made, nil
	}
}

func newRabbitBench() (*rabbitBench, error) {
	url := os.Getenv("TEST_AMQP_URL")
	if url == "" {
		return nil, fmt.Errorf("%w: TEST_AMQP_URL is not set", errNoServer)
	}
	dsn, err := brokers.ParseDSN(url)
	if err != nil {
		return nil, err
	}
	cfg, err := rabbitmq.ConfigFrom(dsn)
	if err != nil {
		return nil, err
	}
	b := &rabbitBench{url: url, cfg: cfg, keys: keysNamed(rabbitKeys), body: noise(large)}
	if b.broker, err = rabbitmq.Open(context.Background(), cfg); err != nil {
		return nil, err
	}
	if b.raw, err = amqp.Dial(url); err != nil {
		return nil, errors.Join(err, b.broker.Close())
	}
	return b, nil
}

// makeQueue makes an exchange and a queue of a kind. drop deletes both.
func (b *rabbitBench) makeQueue(kind rabbitmq.QueueKind) (drop func() error, err error) {
	b.exchange = "peers-" + uuid.NewString()[:8]
	b.queue = b.exchange
	_, err = b.broker.ApplyTopology(context.Background(), rabbitmq.Topology{
		Exchanges: []rabbitmq.ExchangeConfig{{Name: b.exchange}},
		Queues:    []rabbitmq.QueueConfig{{Name: b.queue, Kind: kind}},
		Bindings:  []rabbitmq.BindingConfig{{Exchange: b.exchange, Queue: b.queue, Key: routeKey}},
	}, rabbitmq.TopologyDeclare)
	return b.drop, err
}

// makeTopic makes a topic of one partition, whose group's queue is quorum with a
// single active consumer. drop deletes it.
func (b *rabbitBench) makeTopic() (drop func() error, err error) {
	b.exchange = "peers-" + uuid.NewString()[:8]
	b.queue = b.exchange + "." + rabbitGroup + ".p0"
	err = b.broker.EnsureTopic(context.Background(), brokers.TopicConfig{Name: b.exchange, Partitions: 1, Groups: []string{rabbitGroup}})
	return b.drop, err
}

func (b *rabbitBench) drop() error {
	return b.on(func(ch *amqp.Channel) error {
		for _, queue := range []string{b.queue, b.exchange + ".partitions"} {
			if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
				return err
			}
		}
		return ch.ExchangeDelete(b.exchange, false, false)
	})
}

// purge empties the queue.
func (b *rabbitBench) purge() error {
	return b.on(func(ch *amqp.Channel) error {
		_, err := ch.QueuePurge(b.queue, false)
		return err
	})
}

func (b *rabbitBench) on(do func(*amqp.Channel) error) error {
	ch, err := b.raw.Channel()
	if err != nil {
		return err
	}
	return errors.Join(do(ch), ch.Close())
}

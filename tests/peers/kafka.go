package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

const (
	kafkaPartitions = 12
	kafkaKeys       = 10_000
	kafkaCall       = 100 // messages of one call
	kafkaBuffered   = 10_000
	large, small    = 1024, 100 // bytes of a message

	franzPoll = "franz-go, poll loop"
	franzPool = "franz-go and a pool of 256 by key"
	keyActors = "troupe with key actors"
)

// kafkaBench is what the contenders share.
type kafkaBench struct {
	seeds []string
	admin *kgo.Client
	plain *kafka.Broker
	keys  [][]byte

	// Of the table that is being made.
	topic  string
	bodies [][]byte // to publish
}

// onKafka has tables made on the cluster of TEST_KAFKA_URL.
func onKafka(tables ...func(*kafkaBench, *options) (table, error)) func(*options) ([]table, error) {
	return func(o *options) (made []table, err error) {
		b, err := newKafkaBench()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.close()) }()
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

func newKafkaBench() (*kafkaBench, error) {
	url := os.Getenv("TEST_KAFKA_URL")
	if url == "" {
		return nil, fmt.Errorf("%w: TEST_KAFKA_URL is not set", errNoServer)
	}
	dsn, err := brokers.ParseDSN(url)
	if err != nil {
		return nil, err
	}
	b := &kafkaBench{seeds: dsn.Addresses(9092), keys: keysNamed(kafkaKeys)}
	if b.plain, err = b.open(kafka.Config{}); err != nil {
		return nil, err
	}
	if b.admin, err = b.franz(); err != nil {
		return nil, errors.Join(err, b.plain.Close())
	}
	return b, nil
}

func (b *kafkaBench) close() error {
	b.admin.Close()
	return b.plain.Close()
}

func keysNamed(n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = []byte("key-" + strconv.Itoa(i))
	}
	return keys
}

// open is troupe's driver.
func (b *kafkaBench) open(cfg kafka.Config) (*kafka.Broker, error) {
	cfg.Seeds = b.seeds
	return kafka.Open(context.Background(), cfg)
}

func (b *kafkaBench) franz(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.seeds...)}, options...)...)
}

// makeTopic makes the topic of a table, with n messages of that size, which no
// compression makes smaller. drop deletes it.
func (b *kafkaBench) makeTopic(partitions, n, size, keys int) (drop func() error, err error) {
	ctx := context.Background()
	name := "peers-" + uuid.NewString()[:8]
	if err := b.plain.EnsureTopic(ctx, brokers.TopicConfig{Name: name, Partitions: partitions}); err != nil {
		return nil, err
	}
	b.topic = name
	drop = func() error {
		request := kmsg.NewPtrDeleteTopicsRequest()
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.TopicNames, request.Topics = []string{name}, []kmsg.DeleteTopicsRequestTopic{topic}
		_, err := request.RequestWith(ctx, b.admin)
		return err
	}
	return drop, b.fill(n, size, keys)
}

func (b *kafkaBench) fill(n, size, keys int) error {
	client, err := b.franz(kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer client.Close()
	return produce(client, n, func(i int) *kgo.Record {
		return &kgo.Record{Topic: b.topic, Key: b.keys[i%keys], Value: noise(size)}
	})
}

// noise is random.
func noise(size int) []byte {
	body := make([]byte, size)
	_, _ = rand.Read(body) // it has no way to fail
	return body
}

// produce publishes as users of franz-go do.
func produce(client *kgo.Client, n int, record func(i int) *kgo.Record) error {
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	ctx := context.Background()
	for i := range n {
		client.Produce(ctx, record(i), done)
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

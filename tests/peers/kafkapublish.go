package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// kafkaCallers are who make calls of kafkaCall messages at the same time, where a
// call waits for its confirmations.
const kafkaCallers = 16

func (b *kafkaBench) publishLarge(o *options) (table, error) {
	return b.publishTable(o, large, o.messages(200_000))
}

func (b *kafkaBench) publishSmall(o *options) (table, error) {
	return b.publishTable(o, small, o.messages(500_000))
}

func (b *kafkaBench) publishTable(o *options, size, n int) (t table, err error) {
	drop, err := b.makeTopic(kafkaPartitions, 0, size, kafkaKeys)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	b.bodies = nil
	for range 4096 { // so many that no batch has one twice
		b.bodies = append(b.bodies, noise(size))
	}
	snappy := []kgo.CompressionCodec{kgo.SnappyCompression(), kgo.NoCompression()}
	const plain, packed, calls = "franz-go, idempotent, async", "the same with snappy (its default)", "franz-go, 16 callers of ProduceSync of 100"
	return o.compete(fmt.Sprintf("Publish, Kafka, %d partitions, %d bytes, all in sync", kafkaPartitions, size), []contender{
		{plain, "", n, b.franzPublish(false, kgo.ProducerBatchCompression(kgo.NoCompression()))},
		{"troupe, async", plain, n, b.publish(false, kafka.CompressNone)},
		{packed, "", n, b.franzPublish(false, kgo.ProducerBatchCompression(snappy...))},
		{"troupe, async, snappy", packed, n, b.publish(false, kafka.CompressSnappy)},
		{calls, "", n, b.franzPublish(true, kgo.ProducerBatchCompression(kgo.NoCompression()))},
		{"troupe, 16 callers of Publish of 100", calls, n, b.publish(true, kafka.CompressNone)},
		{"kafka-go, Writer, async, 100 per call", plain, n, b.prepareWriter},
		{"watermill-kafka, 100 per Publish", plain, max(1, n/50), b.prepareWatermillPublish},
	})
}

func (b *kafkaBench) body(i int) []byte { return b.bodies[i%len(b.bodies)] }

func (b *kafkaBench) franzPublish(calls bool, options ...kgo.Opt) prepare {
	return func(n int) (run, clean func() error, err error) {
		client, err := b.franz(options...)
		if err != nil {
			return nil, nil, err
		}
		record := func(i int) *kgo.Record {
			return &kgo.Record{Topic: b.topic, Key: b.keys[i%len(b.keys)], Value: b.body(i)}
		}
		if err := produce(client, 1, record); err != nil { // it is connected
			return nil, nil, err
		}
		run = func() error { return produce(client, n, record) }
		if calls {
			run = func() error {
				return inCalls(n, func(from, to int) error {
					records := make([]*kgo.Record, 0, kafkaCall)
					for i := from; i < to; i++ {
						records = append(records, record(i))
					}
					return client.ProduceSync(context.Background(), records...).FirstErr()
				})
			}
		}
		return run, func() error { client.Close(); return nil }, nil
	}
}

func (b *kafkaBench) publish(calls bool, compression kafka.Compression) prepare {
	return func(n int) (run, clean func() error, err error) {
		broker, err := b.open(kafka.Config{Compression: compression})
		if err != nil {
			return nil, nil, err
		}
		p, err := broker.Publisher(brokers.PublisherConfig{MaxBuffered: kafkaBuffered})
		if err != nil {
			return nil, nil, errors.Join(err, broker.Close())
		}
		message := func(i int) brokers.Message {
			return brokers.Message{Topic: b.topic, Key: b.keys[i%len(b.keys)], Payload: b.body(i)}
		}
		if _, err := p.Publish(context.Background(), message(0)); err != nil { // it is connected
			return nil, nil, errors.Join(err, broker.Close())
		}
		run = func() error { return publishAll(p, n, message) }
		if calls {
			run = func() error {
				return inCalls(n, func(from, to int) error {
					messages := make([]brokers.Message, 0, kafkaCall)
					for i := from; i < to; i++ {
						messages = append(messages, message(i))
					}
					_, err := p.Publish(context.Background(), messages...)
					return err
				})
			}
		}
		return run, func() error { return errors.Join(p.Close(context.Background()), broker.Close()) }, nil
	}
}

// publishAll publishes asynchronously, and waits for all confirmations.
func publishAll(p *brokers.Publisher, n int, message func(i int) brokers.Message) error {
	ctx := context.Background()
	var failed atomic.Pointer[error]
	done := func(_ brokers.Receipt, err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	for i := range n {
		if err := p.PublishAsync(ctx, message(i), done); err != nil {
			return err
		}
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// inCalls has kafkaCallers share n messages, in calls of kafkaCall.
func inCalls(n int, call func(from, to int) error) error {
	var (
		callers sync.WaitGroup
		next    atomic.Int64
		failed  atomic.Pointer[error]
	)
	for range kafkaCallers {
		callers.Go(func() {
			for {
				to := int(next.Add(kafkaCall))
				from := to - kafkaCall
				if from >= n {
					return
				}
				if err := call(from, min(to, n)); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	callers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// prepareWriter is kafka-go's, which by default sends batches of 100 and waits a
// second for one to fill.
func (b *kafkaBench) prepareWriter(n int) (run, clean func() error, err error) {
	var failed atomic.Pointer[error]
	transport := &kafkago.Transport{} // the shared one may not know of the topic yet
	w := &kafkago.Writer{
		Transport: transport,
		Addr:      kafkago.TCP(b.seeds...), Topic: b.topic, Balancer: &kafkago.Hash{}, RequiredAcks: kafkago.RequireAll, Async: true,
		BatchSize: kafkaBuffered, BatchBytes: 1 << 20, BatchTimeout: 10 * time.Millisecond,
		Completion: func(_ []kafkago.Message, err error) {
			if err != nil {
				failed.Store(&err)
			}
		},
	}
	run = func() error {
		for from := 0; from < n; from += kafkaCall {
			messages := make([]kafkago.Message, 0, kafkaCall)
			for i := from; i < min(from+kafkaCall, n); i++ {
				messages = append(messages, kafkago.Message{Key: b.keys[i%len(b.keys)], Value: b.body(i)})
			}
			if err := w.WriteMessages(context.Background(), messages...); err != nil {
				return err
			}
		}
		if err := w.Close(); err != nil { // it waits for what is under way
			return err
		}
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}
	return run, func() error { transport.CloseIdleConnections(); return nil }, nil
}

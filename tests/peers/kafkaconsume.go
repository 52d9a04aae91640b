package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
)

func (b *kafkaBench) consumeLarge(o *options) (table, error) {
	return b.consumeTable(o, large, o.messages(500_000))
}

func (b *kafkaBench) consumeSmall(o *options) (table, error) {
	return b.consumeTable(o, small, o.messages(2_000_000))
}

func (b *kafkaBench) consumeTable(o *options, size, n int) (t table, err error) {
	drop, err := b.makeTopic(kafkaPartitions, n, size, kafkaKeys)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	t, err = o.compete(fmt.Sprintf("Consume, Kafka, %d partitions, %d bytes, no-op handler", kafkaPartitions, size), []contender{
		{franzPoll, "", n, fromJoined(b.prepareFranz)},
		{franzPool, "", n, fromJoined(b.preparePool(works[0]))},
		{"troupe's driver alone", franzPoll, n, fromJoined(b.prepareReaders)},
		{keyActors, franzPool, n, fromJoined(b.prepareSystem(works[0]))},
		{"kafka-go, Reader", franzPool, max(1, n/2), fromJoined(b.prepareReader)},
		{"watermill-kafka, router", franzPool, max(1, n/5), fromJoined(b.prepareWatermillConsume(works[0]))},
	})
	if err != nil {
		return table{}, err
	}
	own, ran := t.row(keyActors)
	bare, ranBare := t.row(franzPoll)
	if ran && ranBare {
		more := time.Duration(own.CPU - bare.CPU)
		t.Notes = append(t.Notes, fmt.Sprintf("key actors, policy and tracking take %v CPU per message more than %s does", more, franzPoll))
	}
	return t, nil
}

// group is a client that begins at the start of a topic, as a new group.
func (b *kafkaBench) group(joined func()) (*kgo.Client, error) {
	return b.franz(
		kgo.ConsumeTopics(b.topic), kgo.ConsumerGroup("peers-"+uuid.NewString()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { joined() }),
	)
}

func (b *kafkaBench) prepareFranz(n int, joined func()) (run, clean func() error, err error) {
	client, err := b.group(joined)
	if err != nil {
		return nil, nil, err
	}
	c := newCountdown(n, nil)
	run = func() error { return poll(client, c, func(f kgo.Fetches) { c.handledMany(f.NumRecords()) }) }
	return run, func() error { client.Close(); return nil }, nil
}

// poll polls until all is handled.
func poll(client *kgo.Client, c *countdown, take func(kgo.Fetches)) error {
	ctx, stop := context.WithTimeout(context.Background(), stuckAfter)
	defer stop()
	go func() {
		select {
		case <-c.done:
			stop()
		case <-ctx.Done():
		}
	}()
	for {
		fetches := client.PollFetches(ctx)
		select {
		case <-c.done:
			return nil
		default:
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		take(fetches)
	}
}

// preparePool is the limit for troupe: the quickest client, and a pool that keeps
// the order of keys, without policy, tracking, or acknowledgements of what was
// really handled.
func (b *kafkaBench) preparePool(w work) consumer {
	return func(n int, joined func()) (run, clean func() error, err error) { return b.poolOf(w, n, joined) }
}

func (b *kafkaBench) poolOf(w work, n int, joined func()) (run, clean func() error, err error) {
	client, err := b.group(joined)
	if err != nil {
		return nil, nil, err
	}
	c := newCountdown(n, nil)
	p := newPool(workers, w.blocks, func(r *kgo.Record) []byte { return r.Key }, func(*kgo.Record) { w.do(); c.handled() })
	run = func() error {
		return poll(client, c, func(f kgo.Fetches) {
			f.EachPartition(func(part kgo.FetchTopicPartition) {
				for records := part.Records; len(records) > 0; records = records[min(batch, len(records)):] {
					p.submit(records[:min(batch, len(records))])
				}
			})
		})
	}
	return run, func() error { p.close(); client.Close(); return nil }, nil
}

// prepareReaders reads each partition with the driver alone, and acknowledges
// each batch.
func (b *kafkaBench) prepareReaders(n int, joined func()) (run, clean func() error, err error) {
	c := newCountdown(n, nil)
	ctx, stop := context.WithCancel(context.Background())
	sub, err := b.plain.Subscribe(ctx, brokers.SubscriptionConfig{Group: "peers-" + uuid.NewString(), Topics: []string{b.topic}})
	if err != nil {
		stop()
		return nil, nil, err
	}
	var readers sync.WaitGroup
	run = func() error {
		readers.Go(func() {
			for {
				part, err := sub.Accept(ctx)
				if err != nil {
					return // closed
				}
				joined()
				readers.Go(func() { readAll(ctx, part, c) })
			}
		})
		return c.await()
	}
	clean = func() error {
		stop()
		readers.Wait()
		if err := sub.Close(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil // it was told not to wait
	}
	return run, clean, nil
}

func readAll(ctx context.Context, part brokers.Partition, c *countdown) {
	for {
		messages, err := part.Fetch(ctx, brokers.FetchLimit{Messages: batch})
		if err != nil {
			return // closed
		}
		if err := part.Ack(brokers.Ack{UpTo: messages[len(messages)-1].Offset}); err != nil {
			return // revoked: the next owner reads it
		}
		c.handledMany(len(messages))
	}
}

// prepareReader is kafka-go's group reader, which commits each second.
func (b *kafkaBench) prepareReader(n int, joined func()) (run, clean func() error, err error) {
	reader := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: b.seeds, GroupID: "peers-" + uuid.NewString(), Topic: b.topic, StartOffset: kafkago.FirstOffset,
		CommitInterval: time.Second, MaxBytes: 1 << 20,
	})
	c := newCountdown(n, joined)
	run = func() error {
		ctx, stop := context.WithTimeout(context.Background(), stuckAfter)
		defer stop()
		for range n {
			if _, err := reader.ReadMessage(ctx); err != nil {
				return err
			}
			c.handled()
		}
		return nil
	}
	return run, reader.Close, nil
}

// prepareSystem reads with the whole runtime: key actors, policy and tracking.
func (b *kafkaBench) prepareSystem(w work) consumer {
	return func(n int, joined func()) (run, clean func() error, err error) {
		return prepareSystem(b.plain, b.topic, w, n, joined)
	}
}

// onePartitionTable is what concurrency by key is for.
func (b *kafkaBench) onePartitionTable(o *options) (t table, err error) {
	const keys, sleep = 1000, 5 * time.Millisecond
	n := o.messages(10_000)
	drop, err := b.makeTopic(1, n, 100, keys)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	w := work{name: "5 ms of sleep", blocks: true, do: func() { time.Sleep(sleep) }}
	return o.compete(fmt.Sprintf("Consume, Kafka, one partition, %d keys, %s", keys, w.name), []contender{
		{franzPool, "", n, fromJoined(b.preparePool(w))},
		{keyActors, franzPool, n, fromJoined(b.prepareSystem(w))},
		{"watermill-kafka, router", franzPool, max(1, n/20), fromJoined(b.prepareWatermillConsume(w))},
	})
}

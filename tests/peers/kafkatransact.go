package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// kafkaTransaction is how often a transaction is committed: the driver's default.
const kafkaTransaction = 100 * time.Millisecond

func (b *kafkaBench) transactLarge(o *options) (table, error) {
	return b.transactTable(o, large, o.messages(200_000))
}

func (b *kafkaBench) transactSmall(o *options) (table, error) {
	return b.transactTable(o, small, o.messages(500_000))
}

// transactTable copies a topic into another. A run ends with its last commit.
func (b *kafkaBench) transactTable(o *options, size, n int) (t table, err error) {
	dropTo, err := b.makeTopic(kafkaPartitions, 0, size, kafkaKeys)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, dropTo()) }()
	to := b.topic
	drop, err := b.makeTopic(kafkaPartitions, n, size, kafkaKeys)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	const session, atLeastOnce = "franz-go, GroupTransactSession", "troupe with key actors, at least once"
	title := fmt.Sprintf("Consume, process and produce, Kafka, %d partitions, %d bytes, a transaction each %v", kafkaPartitions, size, kafkaTransaction)
	return o.compete(title, []contender{
		{session, "", n, fromJoined(b.prepareSession(to))},
		{"troupe with key actors, in transactions", session, n, fromJoined(b.prepareCopies(to, true))},
		{atLeastOnce, session, n, fromJoined(b.prepareCopies(to, false))},
	})
}

// prepareSession copies as the client's users do: one transaction at a time, of all
// that is polled in an interval, in one goroutine.
func (b *kafkaBench) prepareSession(to string) consumer {
	return func(n int, joined func()) (run, clean func() error, err error) {
		session, err := kgo.NewGroupTransactSession(
			kgo.SeedBrokers(b.seeds...), kgo.TransactionalID("peers-"+uuid.NewString()), kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.ConsumeTopics(b.topic), kgo.ConsumerGroup("peers-"+uuid.NewString()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(),
			kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { joined() }),
		)
		if err != nil {
			return nil, nil, err
		}
		run = func() error {
			ctx, stop := context.WithTimeout(context.Background(), stuckAfter)
			defer stop()
			for left := n; left > 0; {
				copied, err := copyOnce(ctx, session, to, left)
				if err != nil {
					return err
				}
				left -= copied
			}
			return nil
		}
		return run, func() error { session.Close(); return nil }, nil
	}
}

// copyOnce copies up to n records in a transaction.
func copyOnce(ctx context.Context, session *kgo.GroupTransactSession, to string, n int) (copied int, err error) {
	if err := session.Begin(); err != nil {
		return 0, err
	}
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	polling, stop := context.WithTimeout(ctx, kafkaTransaction)
	defer stop()
	for copied < n && polling.Err() == nil {
		fetches := session.PollFetches(polling)
		if err := fetches.Err(); err != nil && polling.Err() == nil {
			return 0, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			copied++
			session.Produce(ctx, &kgo.Record{Topic: to, Key: r.Key, Value: r.Value}, done)
		})
	}
	committed, err := session.End(ctx, kgo.TryCommit)
	if cause := failed.Load(); cause != nil {
		err = errors.Join(err, *cause)
	}
	if err == nil && !committed {
		err = errors.New("a transaction was aborted, though nobody else is in the group")
	}
	return copied, err
}

// prepareCopies copies with the whole runtime; its run ends when the system has, and
// so with what it has committed last.
func (b *kafkaBench) prepareCopies(to string, transactional bool) consumer {
	return func(n int, joined func()) (run, clean func() error, err error) {
		c := newCountdown(n, nil)
		sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
			Group: "peers-" + uuid.NewString(), Broker: joining{b.plain, joined}, Topics: []string{b.topic}, Concurrency: workers,
			Transactional: transactional,
			Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error {
				err := ctx.Publish(to, brokers.Message{Payload: ctx.Event().Payload})
				c.handled()
				return err
			})),
		})
		if err != nil {
			return nil, nil, err
		}
		handle, drain := running(sys, c)
		return func() error { return errors.Join(handle(), drain()) }, nil, nil
	}
}

package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// BenchmarkConsume reads a topic of 12 partitions from its beginning, as a new
// group each time: with franz-go's poll loop, and with a Fetch loop per partition
// that acknowledges each batch.
func BenchmarkConsume(b *testing.B) {
	for _, size := range []struct{ bytes, n int }{{100, 400_000}, {1000, 200_000}} {
		b.Run(fmt.Sprintf("%dB", size.bytes), func(b *testing.B) {
			r := newRace(b, size.bytes, "none")
			if err := r.troupeAsync(size.n); err != nil {
				b.Fatal(err)
			}
			compete(b, size.n, []contender{{"franz", "", r.franzConsume}, {"troupe", "franz", r.troupeConsume(b)}})
		})
	}
}

func (r *race) franzConsume(n int) error {
	c, err := kgo.NewClient(
		kgo.SeedBrokers(r.franz.OptValue(kgo.SeedBrokers).([]string)...), kgo.ConsumeTopics(r.topic),
		kgo.ConsumerGroup(uuid.NewString()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer c.Close()
	for got := 0; got < n; {
		fetches := c.PollFetches(r.ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		got += fetches.NumRecords()
	}
	return c.CommitUncommittedOffsets(r.ctx)
}

func (r *race) troupeConsume(b *testing.B) func(n int) error {
	b.Helper()
	broker := open(b, func(*kafka.Config) {})
	return func(n int) error {
		sub, err := broker.Subscribe(r.ctx, brokers.SubscriptionConfig{Group: uuid.NewString(), Topics: []string{r.topic}})
		if err != nil {
			return err
		}
		ctx, done := context.WithCancel(r.ctx)
		defer done()
		var left atomic.Int64
		left.Store(int64(n))
		var reading sync.WaitGroup
		for range benchPartitions {
			p, err := sub.Accept(ctx)
			if err != nil {
				return err
			}
			reading.Go(func() {
				for {
					got, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 512})
					if err != nil {
						return
					}
					_ = p.Ack(brokers.Ack{UpTo: got[len(got)-1].Offset}) // it fails only if the epoch has ended
					if left.Add(-int64(len(got))) == 0 {
						done()
					}
				}
			})
		}
		reading.Wait()
		// The owners have ended: what they acknowledged is sent.
		if err := sub.Close(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}

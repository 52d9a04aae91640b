package kafka_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// A member that leaves commits the last transactions of its partitions at once, and
// none again: that one of them is given back is no new generation, which would end
// the transactions of the others.
func TestLeavingAbortsNothing(t *testing.T) {
	t.Parallel()
	const partitions, each = 12, 500
	h := &holder{key: initProducerID}
	b := openQuick(t, func(cfg *kafka.Config) { cfg.Dial = h.dial })
	from, to := newTopic(t, b, partitions), newTopic(t, b, partitions)
	for id := range int32(partitions) {
		put(t, b, from, id, slices.Repeat([]string{"x"}, each)...)
	}
	sub := subscribe(t, b, brokers.SubscriptionConfig{
		Group: from, Topics: []string{from}, Transactional: true, AckInterval: time.Minute,
	})
	var owned []brokers.Partition
	for range partitions {
		p := accept(t, sub)
		owned = append(owned, p)
		_, msgs := fetch(t, p, each)
		for i := range msgs {
			ok(t, p.(brokers.Stager).Stage(msgs[i].Offset, brokers.Message{Topic: to, Key: []byte{byte(i)}, Payload: msgs[i].Payload}))
		}
		ok(t, p.Ack(brokers.Ack{UpTo: msgs[each-1].Offset}))
	}
	began := h.seen.Load()
	leaving := within(t)
	var closing sync.WaitGroup
	closed := make(chan error, partitions+1)
	closing.Go(func() { closed <- sub.Close(leaving) })
	for _, p := range owned {
		closing.Go(func() {
			<-p.Revoking()
			closed <- p.Close(leaving)
		})
	}
	closing.Wait()
	for range partitions + 1 {
		ok(t, <-closed)
	}
	if aborted := h.seen.Load() - began; aborted != 0 { // after each the producer begins anew
		t.Errorf("%d transactions were aborted, and made again; want none", aborted)
	}
	for id := range int32(partitions) {
		if at := positionIn(t, from, from, id); at != each {
			t.Errorf("partition %d is left at %d; want %d", id, at, each)
		}
	}
}

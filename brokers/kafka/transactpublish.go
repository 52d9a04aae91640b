package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/troupe-go/troupe/brokers"
)

// Publish adds messages to the transaction and returns when the cluster has
// stored them, with a receipt each. Messages of one key are stored in the order
// of msgs, and of calls. What passes by itself is waited for until ctx ends. On
// an error the transaction can only be aborted.
func (t *Transactor) Publish(ctx context.Context, msgs ...brokers.Message) ([]brokers.Receipt, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.begun(); err != nil {
		return nil, err
	}
	lots, err := t.sort(ctx, msgs)
	if err == nil {
		err = t.enlist(ctx, lots)
	}
	receipts := make([]brokers.Receipt, len(msgs))
	if err == nil {
		err = t.deliver(ctx, lots, receipts)
	}
	if err = t.fail(err); err != nil {
		return nil, err
	}
	return receipts, nil
}

// lot is what of one call goes to one partition.
type lot struct {
	place

	msgs    []*brokers.Message
	indexes []int  // of the messages in the call
	batch   []byte // of the first n messages, once it was encoded
	n       int
}

// sort divides messages by partition, in order.
func (t *Transactor) sort(ctx context.Context, msgs []brokers.Message) ([]*lot, error) {
	lots := map[place]*lot{}
	var list []*lot
	for i := range msgs {
		m := &msgs[i]
		at, err := t.choose(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		l := lots[at]
		if l == nil {
			l = &lot{place: at}
			lots[at] = l
			list = append(list, l)
		}
		l.msgs = append(l.msgs, m)
		l.indexes = append(l.indexes, i)
	}
	slices.SortStableFunc(list, func(a, b *lot) int { return strings.Compare(a.topic, b.topic) })
	return list, nil
}

// choose finds a message's partition.
func (t *Transactor) choose(ctx context.Context, m *brokers.Message) (place, error) {
	if err := brokers.Check(m, t.cfg.MaxMessageBytes); err != nil {
		return place{}, err
	}
	known, err := t.c.metadata.topic(ctx, m.Topic)
	if err != nil {
		return place{}, err
	}
	partition, err := t.cfg.Partitioner.Partition(m, len(known.leaders))
	if err == nil && (partition < 0 || int(partition) >= len(known.leaders)) {
		err = fmt.Errorf("%w: topic %q has no partition %d", brokers.ErrInvalid, m.Topic, partition)
	}
	return place{m.Topic, partition}, err
}

// enlist makes partitions part of the transaction.
func (t *Transactor) enlist(ctx context.Context, lots []*lot) error {
	topics := map[string][]kafkago.AddPartitionToTxn{}
	for _, l := range lots {
		if !t.enlisted[l.place] {
			topics[l.topic] = append(topics[l.topic], kafkago.AddPartitionToTxn{Partition: int(l.partition)})
		}
	}
	if len(topics) == 0 {
		return nil
	}
	err := t.ask(ctx, transactionCoordinator, t.id, func() error {
		answer, err := t.c.api().AddPartitionsToTxn(ctx, &kafkago.AddPartitionsToTxnRequest{
			TransactionalID: t.id, ProducerID: int(t.producer.id), ProducerEpoch: int(t.producer.epoch), Topics: topics,
		})
		if err != nil {
			return err
		}
		for topic, partitions := range answer.Topics {
			for _, p := range partitions {
				if p.Error != nil {
					return fmt.Errorf("kafka: partition %d of topic %q in a transaction: %w", p.Partition, topic, p.Error)
				}
			}
		}
		return nil
	})
	for _, l := range lots {
		t.enlisted[l.place] = true // even if the answer is lost they may be part of it
	}
	return err
}

// deliver sends lots to their leaders, batch by batch, until all is stored.
func (t *Transactor) deliver(ctx context.Context, lots []*lot, receipts []brokers.Receipt) error {
	for failures := 0; ; {
		stored, err := t.round(ctx, lots, receipts)
		if err != nil && !transient(err) {
			return err
		}
		lots = slices.DeleteFunc(lots, func(l *lot) bool { return len(l.msgs) == 0 })
		switch {
		case len(lots) == 0:
			return nil
		case err == nil:
			continue
		case stored:
			failures = 0
		}
		if !t.c.pause(ctx, failures) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		failures++
		t.refresh(ctx, lots)
	}
}

// refresh looks for the leaders of lots. What is wrong with that shows when they
// are sent.
func (t *Transactor) refresh(ctx context.Context, lots []*lot) {
	var names []string
	for _, l := range lots {
		if !slices.Contains(names, l.topic) {
			names = append(names, l.topic)
		}
	}
	_ = t.c.metadata.refresh(ctx, names...)
}

// round sends the next batch of each lot. It says whether any was stored, and
// what was wrong with one that was not.
func (t *Transactor) round(ctx context.Context, lots []*lot, receipts []brokers.Receipt) (stored bool, err error) {
	byLeader, err := t.byLeader(ctx, lots)
	if err != nil {
		return false, err
	}
	if err := t.seal(lots); err != nil {
		return false, err
	}
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
	)
	for leader, some := range byLeader {
		asking.Go(func() {
			answers, failed := t.send(ctx, leader, some)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = worse(err, failed)
				return
			}
			for _, l := range some {
				failed := t.settle(l, answers, receipts)
				stored = stored || failed == nil
				err = worse(err, failed)
			}
		})
	}
	asking.Wait()
	return stored, err
}

// byLeader divides lots by the nodes that they go to.
func (t *Transactor) byLeader(ctx context.Context, lots []*lot) (map[int32][]*lot, error) {
	byLeader := map[int32][]*lot{}
	for _, l := range lots {
		known, err := t.c.metadata.topic(ctx, l.topic)
		if err != nil {
			return nil, err
		}
		leader := noLeader
		if int(l.partition) < len(known.leaders) {
			leader = known.leaders[l.partition]
		}
		byLeader[leader] = append(byLeader[leader], l)
	}
	return byLeader, nil
}

// worse returns the error that does not pass by itself, if there is one.
func worse(a, b error) error {
	if a == nil || b != nil && !transient(b) {
		return b
	}
	return a
}

// seal encodes the next batch of each lot that has none.
func (t *Transactor) seal(lots []*lot) (err error) {
	now := time.Now()
	for _, l := range lots {
		if l.batch != nil {
			continue
		}
		size := 0
		for l.n = 0; l.n < min(len(l.msgs), t.c.cfg.BatchMessages); l.n++ {
			if size += batchSize(l.msgs[l.n]); l.n > 0 && size > t.c.cfg.BatchBytes {
				break
			}
		}
		head := batchHead{producer: t.producer, sequence: t.sequences[l.place], transactional: true}
		l.batch, err = t.encoder.appendBatch(nil, head, l.n, func(i int) *brokers.Message { return l.msgs[i] }, now)
		if err != nil {
			return err
		}
	}
	return nil
}

// send sends the batches of lots to their leader.
func (t *Transactor) send(ctx context.Context, leader int32, lots []*lot) (map[place]produced, error) {
	if leader == noLeader {
		return nil, fmt.Errorf("%w: %w", errConnection, errNoLeader)
	}
	x, err := t.c.borrow(ctx, leader)
	if err != nil {
		return nil, err
	}
	defer t.c.giveBack(leader, x)
	f, err := newProduceFrame(nil, x, t.id, AcksAll, t.c.cfg.RequestTimeout)
	if err != nil {
		return nil, err
	}
	for _, l := range lots {
		f.begin(l.topic, l.partition)
		f.b = append(f.b, l.batch...)
		f.end()
	}
	frame, err := x.exchange(ctx, f.finish(), t.c.cfg.RequestTimeout)
	if err != nil {
		return nil, err
	}
	return readProduced(x, frame)
}

// settle does what the cluster's answer means for a lot. A batch that was not
// stored for a reason that passes is sent again as it is.
func (t *Transactor) settle(l *lot, answers map[place]produced, receipts []brokers.Receipt) error {
	a, ok := answers[l.place]
	if !ok {
		return fmt.Errorf("%w: no answer for partition %d of topic %q", errConnection, l.partition, l.topic)
	}
	what, err := fateOf(a.code)
	if what != fateStored {
		return t.failure(fmt.Errorf("kafka: partition %d of topic %q: %w", l.partition, l.topic, err))
	}
	for i, index := range l.indexes[:l.n] {
		r := brokers.Receipt{Topic: l.topic, Partition: l.partition, Offset: brokers.NoOffset}
		if a.offset >= 0 {
			r.Offset = a.offset + int64(i)
		}
		receipts[index] = r
	}
	t.sequences[l.place] = nextSequence(t.sequences[l.place], l.n)
	l.msgs, l.indexes, l.batch = l.msgs[l.n:], l.indexes[l.n:], nil
	return nil
}

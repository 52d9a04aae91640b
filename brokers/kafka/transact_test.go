package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/kafka"
)

func transactor(t *testing.T, b *kafka.Broker, id string, cfg kafka.TransactorConfig) *kafka.Transactor {
	t.Helper()
	tx, err := b.Transactor(within(t), id, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add publishes messages of these payloads in the transaction.
func add(t *testing.T, tx *kafka.Transactor, topic string, payloads ...string) []brokers.Receipt {
	t.Helper()
	var msgs []brokers.Message
	for _, p := range payloads {
		msgs = append(msgs, brokers.Message{Topic: topic, Key: []byte(p[:1]), Payload: []byte(p)})
	}
	receipts, err := tx.Publish(within(t), msgs...)
	ok(t, err)
	return receipts
}

// committed reads what a consumer of franz-go sees that reads what is committed,
// and waits until it has seen the last of want.
func committed(t *testing.T, topic string, want ...string) {
	t.Helper()
	var got []string
	for _, r := range readAll(t, topic, len(want), kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		got = append(got, string(r.Value))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("committed are %v; want %v", got, want)
	}
}

// position is a group's committed offset of partition 0.
func position(t *testing.T, group, topic string) int64 {
	t.Helper()
	return positionIn(t, group, topic, 0)
}

// positionIn is a group's committed offset of a partition.
func positionIn(t *testing.T, group, topic string, partition int32) int64 {
	t.Helper()
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group, request.RequireStable = group, true
	one := kmsg.NewOffsetFetchRequestTopic()
	one.Topic, one.Partitions = topic, []int32{partition}
	request.Topics = append(request.Topics, one)
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic, gt.Partitions = topic, []int32{partition}
	g.Topics = append(g.Topics, gt)
	request.Groups = append(request.Groups, g)
	c := reader(t)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for ctx := within(t); ; {
		answer, err := request.RequestWith(ctx, c)
		ok(t, err)
		p := answer.Groups[0].Topics[0].Partitions[0]
		if p.ErrorCode == 0 {
			return p.Offset
		}
		select { // a transaction is not over, or the coordinator loads
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("offset of %q: code %d", group, p.ErrorCode)
		}
	}
}

// What is committed is there as a whole, with its offsets; what is aborted is not.
func TestTransactions(t *testing.T) {
	t.Parallel()
	for name, compression := range map[string]kafka.Compression{"None": kafka.CompressNone, "LZ4": kafka.CompressLZ4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, func(c *kafka.Config) { c.Compression = compression })
			one, two := newTopic(t, b, 3), newTopic(t, b, 1)
			group := "group-" + uuid.NewString()
			tx := transactor(t, b, "tx-"+uuid.NewString(), kafka.TransactorConfig{})
			alone := kafka.Membership{Group: group, Generation: -1}

			add(t, tx, one, "a1", "b1", "c1")
			ok(t, tx.SendOffsets(within(t), alone, kafka.GroupOffset{Topic: one, Next: 5, Metadata: "m"}))
			add(t, tx, two, "d1")
			ok(t, tx.Commit(within(t)))

			add(t, tx, one, "a2", "b2")
			ok(t, tx.SendOffsets(within(t), alone, kafka.GroupOffset{Topic: one, Next: 9}))
			ok(t, tx.Abort(within(t)))
			ok(t, tx.Abort(within(t)))  // of nothing
			ok(t, tx.Commit(within(t))) // of nothing

			receipts := add(t, tx, one, "a3", "a4", "x3")
			if receipts[1].Partition != receipts[0].Partition || receipts[1].Offset != receipts[0].Offset+1 {
				t.Errorf("receipts %+v; want two that follow each other first", receipts)
			}
			add(t, tx, two, "d3")
			ok(t, tx.Commit(within(t)))

			committed(t, one, "a1", "b1", "c1", "a3", "a4", "x3")
			committed(t, two, "d1", "d3")
			if got := position(t, group, one); got != 5 {
				t.Errorf("the group is at %d; want 5", got)
			}
		})
	}
}

// A Transactor of the same id aborts what the one before had open, which it
// fences: the take-over of a process that died between its offsets and the
// commit.
func TestTransactionTakenOver(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	topic := newTopic(t, b, 1)
	id, group := "tx-"+uuid.NewString(), "group-"+uuid.NewString()
	alone := kafka.Membership{Group: group, Generation: -1}
	first := transactor(t, b, id, kafka.TransactorConfig{})
	add(t, first, topic, "a1")
	ok(t, first.SendOffsets(within(t), alone, kafka.GroupOffset{Topic: topic, Next: 1}))

	second := transactor(t, b, id, kafka.TransactorConfig{})
	if got := position(t, group, topic); got != -1 {
		t.Errorf("the group is at %d after the take-over; want no position", got)
	}
	add(t, second, topic, "a2")
	for call, err := range map[string]error{
		"Commit":      first.Commit(within(t)),
		"Abort":       first.Abort(within(t)),
		"SendOffsets": first.SendOffsets(within(t), alone, kafka.GroupOffset{Topic: topic}),
	} {
		if !errors.Is(err, kafka.ErrFenced) {
			t.Errorf("%s of the first: %v; want ErrFenced", call, err)
		}
	}
	ok(t, second.SendOffsets(within(t), alone, kafka.GroupOffset{Topic: topic, Next: 2}))
	ok(t, second.Commit(within(t)))
	committed(t, topic, "a2")
	if got := position(t, group, topic); got != 2 {
		t.Errorf("the group is at %d; want 2", got)
	}

	third := transactor(t, b, id, kafka.TransactorConfig{})
	if _, err := second.Publish(within(t), brokers.Message{Topic: topic}); !errors.Is(err, kafka.ErrFenced) {
		t.Errorf("Publish of the second: %v; want ErrFenced", err)
	}
	add(t, third, topic, "a3")
	ok(t, third.Commit(within(t)))
	committed(t, topic, "a2", "a3")
}

// A transaction in which something failed can only be aborted, and the next one
// is well.
func TestTransactionAbortOnly(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *kafka.Config) { c.TopicConfigs = map[string]string{"max.message.bytes": "512"} })
	topic := newTopic(t, b, 1)
	tx := transactor(t, b, "tx-"+uuid.NewString(), kafka.TransactorConfig{})
	for name, fail := range map[string]func() error{
		"TooLarge": func() error {
			_, err := tx.Publish(within(t), brokers.Message{Topic: topic, Payload: incompressible(600)})
			return err
		},
		"UnknownTopic": func() error {
			_, err := tx.Publish(within(t), brokers.Message{Topic: "no-such-" + uuid.NewString()})
			return err
		},
		"UnknownMember": func() error {
			return tx.SendOffsets(within(t), kafka.Membership{Group: "group-" + uuid.NewString(), Generation: 3, Member: "nobody"}, kafka.GroupOffset{Topic: topic})
		},
		"CalledOff": func() error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := tx.Publish(ctx, brokers.Message{Topic: topic, Payload: []byte("x")})
			return err
		},
	} {
		add(t, tx, topic, "lost "+name)
		if err := fail(); !errors.Is(err, kafka.ErrAbortOnly) {
			t.Errorf("%s: %v; want ErrAbortOnly", name, err)
		}
		if err := tx.Commit(within(t)); !errors.Is(err, kafka.ErrAbortOnly) {
			t.Errorf("%s: Commit: %v; want ErrAbortOnly", name, err)
		}
		ok(t, tx.Abort(within(t)))
	}
	add(t, tx, topic, "kept")
	ok(t, tx.Commit(within(t)))
	committed(t, topic, "kept")
}

// Answers are lost with their connection at each step: what is committed is there
// once.
func TestTransactionCuts(t *testing.T) {
	t.Parallel()
	l := &line.Line{}
	b := open(t, func(c *kafka.Config) {
		c.Dial, c.RetryMin, c.RetryMax = l.Dial, 2*time.Millisecond, 20*time.Millisecond
	})
	topic := newTopic(t, b, 2)
	group := "group-" + uuid.NewString()
	tx := transactor(t, b, "tx-"+uuid.NewString(), kafka.TransactorConfig{})
	// losing does something whose first answers are lost.
	losing := func(do func() error) {
		t.Helper()
		let := l.HoldAnswers()
		done := make(chan error, 1)
		go func() { done <- do() }()
		<-time.After(10 * time.Millisecond)
		l.Cut()
		let()
		l.Mend()
		ok(t, <-done)
	}
	var want []string
	for i := range 10 {
		for _, key := range []string{"a", "b"} {
			payload := fmt.Sprintf("%s%d", key, i)
			want = append(want, payload)
			losing(func() error {
				_, err := tx.Publish(within(t), brokers.Message{Topic: topic, Key: []byte(key), Payload: []byte(payload)})
				return err
			})
		}
		losing(func() error {
			return tx.SendOffsets(within(t), kafka.Membership{Group: group, Generation: -1}, kafka.GroupOffset{Topic: topic, Next: int64(i)})
		})
		losing(func() error { return tx.Commit(within(t)) })
	}
	committed(t, topic, want...)
	if got := position(t, group, topic); got != 9 {
		t.Errorf("the group is at %d; want 9", got)
	}
}

// A transaction that is not ended is aborted by the cluster, and its Transactor
// learns it.
func TestTransactionTimeout(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	topic := newTopic(t, b, 1)
	id := "tx-" + uuid.NewString()
	tx := transactor(t, b, id, kafka.TransactorConfig{Timeout: time.Second})
	add(t, tx, topic, "lost")
	next := transactor(t, b, "tx-"+uuid.NewString(), kafka.TransactorConfig{})
	add(t, next, topic, "kept")
	ok(t, next.Commit(within(t)))
	committed(t, topic, "kept") // can be read only once the first is over
	if err := tx.Commit(within(t)); !errors.Is(err, kafka.ErrFenced) {
		t.Errorf("Commit of a transaction that timed out: %v; want ErrFenced", err)
	}
	again := transactor(t, b, id, kafka.TransactorConfig{})
	add(t, again, topic, "again")
	ok(t, again.Commit(within(t)))
	committed(t, topic, "kept", "again")
}

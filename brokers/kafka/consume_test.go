package kafka_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// openQuick opens a broker whose memberships end soon when they are not heard.
func openQuick(t *testing.T, change func(*kafka.Config)) *kafka.Broker {
	t.Helper()
	return open(t, func(c *kafka.Config) {
		*c = quick(*c)
		if change != nil {
			change(c)
		}
	})
}

func subscribe(t *testing.T, b *kafka.Broker, cfg brokers.SubscriptionConfig) brokers.Subscription {
	t.Helper()
	sub, err := b.Subscribe(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func accept(t *testing.T, sub brokers.Subscription) brokers.Partition {
	t.Helper()
	p, err := sub.Accept(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fetch returns the payloads of the next n messages, and the messages.
func fetch(t *testing.T, p brokers.Partition, n int) (payloads []string, msgs []brokers.Message) {
	t.Helper()
	for len(msgs) < n {
		got, err := p.Fetch(within(t), brokers.FetchLimit{Messages: n - len(msgs)})
		if err != nil {
			t.Fatalf("fetched %q of %d: %v", payloads, n, err)
		}
		for i := range got {
			payloads = append(payloads, string(got[i].Payload))
		}
		msgs = append(msgs, got...)
	}
	return payloads, msgs
}

func closeAll(t *testing.T, p brokers.Partition, sub brokers.Subscription) {
	t.Helper()
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := sub.Close(within(t)); err != nil {
		t.Fatal(err)
	}
}

// put publishes payloads to a partition.
func put(t *testing.T, b *kafka.Broker, topic string, partition int32, payloads ...string) {
	t.Helper()
	pub := publisher(t, b, brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	var msgs []brokers.Message
	for _, text := range payloads {
		msgs = append(msgs, brokers.Message{Topic: topic, Partition: partition, Payload: []byte(text)})
	}
	if _, err := pub.Publish(within(t), msgs...); err != nil {
		t.Fatal(err)
	}
}

// A restart repeats only what was not settled, though what is settled lies above a
// gap and only the gap's beginning is the group's position.
func TestSettledAboveGapIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := openQuick(t, nil)
	topic := newTopic(t, b, 1)
	put(t, b, topic, 0, "0", "1", "2", "3", "4", "5")
	cfg := brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}}
	sub := subscribe(t, b, cfg)
	p := accept(t, sub)
	_, msgs := fetch(t, p, 6)
	if err := p.Ack(brokers.Ack{UpTo: msgs[0].Offset, Above: []int64{msgs[2].Offset, msgs[3].Offset, msgs[5].Offset}}); err != nil {
		t.Fatal(err)
	}
	closeAll(t, p, sub)

	next := subscribe(t, openQuick(t, nil), cfg)
	p = accept(t, next)
	got, msgs := fetch(t, p, 2)
	if want := []string{"1", "4"}; !slices.Equal(got, want) {
		t.Fatalf("after a restart came %q; want %q", got, want)
	}
	if err := p.Ack(brokers.Ack{UpTo: msgs[1].Offset}); err != nil {
		t.Fatal(err)
	}
	closeAll(t, p, next)
	if at := position(t, topic, topic); at != 6 {
		t.Errorf("the group's position is %d; want 6, above all that was settled", at)
	}
}

// Batches are read in all compressions, snappy also as Java's clients frame it.
func TestCompressedIsRead(t *testing.T) {
	t.Parallel()
	b := openQuick(t, nil)
	topic := newTopic(t, b, 1)
	text := strings.Repeat("worth compressing, ", 50)
	for _, codec := range []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	} {
		c := reader(t, kgo.ProducerBatchCompression(codec))
		if err := c.ProduceSync(within(t), &kgo.Record{Topic: topic, Value: []byte(text)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	transport := &kafkago.Transport{} // the shared one would keep its connections
	defer transport.CloseIdleConnections()
	framed := &kafkago.Writer{
		Addr: kafkago.TCP(seeds(serverURL(t, "TEST_KAFKA_URL"))...), Transport: transport,
		Topic: topic, BatchSize: 1, Compression: kafkago.Snappy,
	}
	ok(t, framed.WriteMessages(within(t), kafkago.Message{Value: []byte(text)}))
	ok(t, framed.Close())
	used := map[uint8]int{}
	for _, r := range readAll(t, topic, 6) {
		used[r.Attrs.CompressionType()]++
	}
	if want := map[uint8]int{0: 1, 1: 1, 2: 2, 3: 1, 4: 1}; !maps.Equal(used, want) {
		t.Fatalf("records by their compression: %v; want %v", used, want)
	}
	sub := subscribe(t, b, brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}})
	got, _ := fetch(t, accept(t, sub), 6)
	for i := range got {
		if got[i] != text {
			t.Errorf("message %d is %q", i, got[i])
		}
	}
}

// Transactions that were aborted are not seen; the position passes their markers,
// so that nothing looks unread.
func TestAbortedIsNotSeen(t *testing.T) {
	t.Parallel()
	b := openQuick(t, nil)
	topic := newTopic(t, b, 1)
	tx, err := b.Transactor(within(t), "tx-"+topic, kafka.TransactorConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"a", "no", "b", "nor this"} {
		if _, err := tx.Publish(within(t), brokers.Message{Topic: topic, Payload: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		end := tx.Commit
		if i%2 == 1 {
			end = tx.Abort
		}
		if err := end(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	// The next of the id waits for the last marker, which may come behind "c" else.
	if _, err := b.Transactor(within(t), "tx-"+topic, kafka.TransactorConfig{}); err != nil {
		t.Fatal(err)
	}
	put(t, b, topic, 0, "c")
	sub := subscribe(t, b, brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}})
	p := accept(t, sub)
	got, msgs := fetch(t, p, 3)
	if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Fatalf("got %q; want %q", got, want)
	}
	if err := p.Ack(brokers.Ack{UpTo: msgs[2].Offset}); err != nil {
		t.Fatal(err)
	}
	closeAll(t, p, sub)
	if at := position(t, topic, topic); at != 9 {
		t.Errorf("the group's position is %d; want 9, behind 5 messages and 4 markers", at)
	}
}

// Scenario B06: the group's position is not in the log any more. By the config it
// goes on at the oldest message, and Health says what was lost; or at the newest;
// or it fails, by name.
func TestPositionOutOfRange(t *testing.T) {
	t.Parallel()
	for name, reset := range map[string]kafka.OffsetReset{"earliest": kafka.ResetEarliest, "latest": kafka.ResetLatest, "fail": kafka.ResetFail} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := openQuick(t, func(c *kafka.Config) { c.OffsetReset = reset })
			topic := newTopic(t, b, 1)
			put(t, b, topic, 0, "0", "1", "2", "3", "4")
			cfg := brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}}
			sub := subscribe(t, b, cfg)
			p := accept(t, sub)
			_, msgs := fetch(t, p, 2)
			if err := p.Ack(brokers.Ack{UpTo: msgs[0].Offset}); err != nil {
				t.Fatal(err)
			}
			closeAll(t, p, sub)
			deleteRecords(t, topic, 3)

			sub = subscribe(t, b, cfg)
			p, err := sub.Accept(within(t))
			if reset == kafka.ResetFail {
				if err == nil || !strings.Contains(err.Error(), topic) || !strings.Contains(err.Error(), "position 1 in partition 0") {
					t.Fatalf("Accept: %v; want an error that names topic, partition and position", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			put(t, b, topic, 0, "5")
			want := []string{"3", "4", "5"}
			if reset == kafka.ResetLatest {
				want = []string{"5"}
			}
			if got, _ := fetch(t, p, len(want)); !slices.Equal(got, want) {
				t.Errorf("got %q; want %q", got, want)
			}
			if h := b.Health(within(t)).Subscriptions[0]; h.Err == nil || !strings.Contains(h.Err.Error(), "from 3 to 5") {
				t.Errorf("Health says %v; want what was lost", h.Err)
			}
		})
	}
}

// deleteRecords deletes what lies below an offset of partition 0.
func deleteRecords(t *testing.T, topic string, below int64) {
	t.Helper()
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 10_000
	of := kmsg.NewDeleteRecordsRequestTopic()
	of.Topic = topic
	partition := kmsg.NewDeleteRecordsRequestTopicPartition()
	partition.Offset = below
	of.Partitions = append(of.Partitions, partition)
	request.Topics = append(request.Topics, of)
	answer, err := request.RequestWith(within(t), reader(t))
	if err != nil || answer.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("delete records: %+v, %v", answer, err)
	}
}

// putNew publishes by another client, which asks for partitions that are new.
func putNew(t *testing.T, topic string, partition int32, payload string) {
	t.Helper()
	c := reader(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := c.ProduceSync(within(t), &kgo.Record{Topic: topic, Partition: partition, Value: []byte(payload)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// A group without members can be set back by a time, to handle messages again; one
// with members cannot.
func TestSetPositions(t *testing.T) {
	t.Parallel()
	b := openQuick(t, nil)
	topic := newTopic(t, b, 1)
	pub := publisher(t, b, brokers.PublisherConfig{})
	times := []int64{1_000, 2_000, 3_000}
	for i, at := range times {
		m := brokers.Message{Topic: topic, Payload: []byte{byte('0' + i)}, Time: time.Now().Add(-time.Hour).Add(time.Duration(at) * time.Millisecond)}
		if _, err := pub.Publish(within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	cfg := brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}}
	sub := subscribe(t, b, cfg)
	p := accept(t, sub)
	_, msgs := fetch(t, p, 3)
	if err := p.Ack(brokers.Ack{UpTo: msgs[2].Offset}); err != nil {
		t.Fatal(err)
	}
	back, err := b.OffsetsAt(within(t), topic, msgs[1].Time)
	if err != nil || len(back) != 1 || back[0].Next != 1 {
		t.Fatalf("OffsetsAt: %+v, %v; want offset 1", back, err)
	}
	if err := b.SetPositions(within(t), topic, back...); !errors.Is(err, kafka.ErrHasMembers) {
		t.Fatalf("SetPositions of a group at work: %v; want ErrHasMembers", err)
	}
	closeAll(t, p, sub)
	if err := b.SetPositions(within(t), topic, back...); err != nil {
		t.Fatal(err)
	}
	sub = subscribe(t, b, cfg)
	if got, _ := fetch(t, accept(t, sub), 2); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("set back, got %q; want what is not older than message 1", got)
	}
	if newest, err := b.OffsetsAt(within(t), topic, time.Now().Add(time.Hour)); err != nil || newest[0].Next != 3 {
		t.Errorf("OffsetsAt of the future: %+v, %v; want offset 3", newest, err)
	}
	if err := b.SetPositions(within(t), topic, kafka.GroupOffset{Topic: topic, Next: -1}); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("a negative position: %v; want ErrInvalid", err)
	}
}

// A topic that is deleted ends its epochs; made anew, it is read from its
// beginning, though the group had a position far above that.
func TestTopicMadeAnew(t *testing.T) {
	t.Parallel()
	b := openQuick(t, nil)
	topic := newTopic(t, b, 1)
	put(t, b, topic, 0, "0", "1", "2", "3")
	sub := subscribe(t, b, brokers.SubscriptionConfig{Group: topic, Topics: []string{topic}, AckInterval: 10 * time.Millisecond})
	p := accept(t, sub)
	_, msgs := fetch(t, p, 4)
	if err := p.Ack(brokers.Ack{UpTo: msgs[3].Offset}); err != nil {
		t.Fatal(err)
	}
	deleteTopics(t, seeds(serverURL(t, "TEST_KAFKA_URL")), topic)
	select {
	case <-p.Context().Done():
	case <-within(t).Done():
		t.Fatal("the epoch goes on without its topic")
	}
	_ = p.Close(within(t)) // there is nothing to be acknowledged any more
	if err := b.EnsureTopic(within(t), brokers.TopicConfig{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	putNew(t, topic, 0, "anew")
	next := accept(t, sub)
	if got, _ := fetch(t, next, 1); got[0] != "anew" || next.Epoch() <= p.Epoch() {
		t.Errorf("epoch %d begins with %q", next.Epoch(), got)
	}
}

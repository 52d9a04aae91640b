package kafka_test

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// API keys of Kafka's protocol.
const (
	offsetCommit   uint16 = 8
	joinGroup      uint16 = 11
	initProducerID uint16 = 22
	endTxn         uint16 = 26
)

// isRequest says whether what is being written begins a request of a kind.
func isRequest(b []byte, key uint16) bool {
	return len(b) >= 6 && binary.BigEndian.Uint16(b[4:]) == key
}

// holder counts requests of a kind, and holds the first one back that comes once it is
// armed, when all that it says is chosen.
type holder struct {
	key     uint16
	seen    atomic.Int64
	armed   atomic.Bool
	first   sync.Once
	held    chan struct{} // closed when it is
	release chan struct{}
}

func (h *holder) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return holding{nc, h}, err
}

type holding struct {
	net.Conn

	h *holder
}

func (c holding) Write(b []byte) (int, error) {
	if isRequest(b, c.h.key) {
		c.h.seen.Add(1)
		if c.h.armed.Load() {
			c.h.first.Do(func() {
				close(c.h.held)
				<-c.h.release
			})
		}
	}
	return c.Conn.Write(b)
}

// What is settled while a position is on its way is stored as well before the
// partition is given back, though what is to be sent next is put off: the other topic
// is gone, and its position refused.
func TestCloseWaitsForItsOwnPosition(t *testing.T) {
	t.Parallel()
	h := &holder{key: offsetCommit, held: make(chan struct{}), release: make(chan struct{})}
	b := openQuick(t, func(cfg *kafka.Config) { cfg.Dial = h.dial })
	free := sync.OnceFunc(func() { close(h.release) })
	t.Cleanup(free) // before the broker is closed
	topics := []string{newTopic(t, b, 1), newTopic(t, b, 1)}
	for _, topic := range topics {
		put(t, b, topic, 0, strings.Split("0123456789", "")...)
	}
	sub := subscribe(t, b, brokers.SubscriptionConfig{Group: topics[0], Topics: topics, AckInterval: 100 * time.Millisecond})
	owned := map[string]brokers.Partition{}
	for range topics {
		p := accept(t, sub)
		owned[p.Topic()] = p
	}
	stays, goes := owned[topics[0]], owned[topics[1]]
	_, msgs := fetch(t, stays, 10)
	_, others := fetch(t, goes, 10)
	h.armed.Store(true) // where the group begins is stored by now
	for p, upTo := range map[brokers.Partition]int64{goes: others[1].Offset, stays: msgs[1].Offset} {
		if err := p.Ack(brokers.Ack{UpTo: upTo}); err != nil {
			t.Fatal(err)
		}
	}
	<-h.held
	deleteTopics(t, seeds(serverURL(t, "TEST_KAFKA_URL")), topics[1])
	if err := stays.Ack(brokers.Ack{UpTo: msgs[8].Offset}); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- stays.Close(within(t)) }()
	for stays.Ack(brokers.Ack{UpTo: msgs[8].Offset}) == nil {
		<-time.After(time.Millisecond) // nothing tells that the closing has begun
	}
	free()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if at := positionIn(t, topics[0], topics[0], 0); at != msgs[9].Offset {
		t.Errorf("the partition was given back at %d; want %d", at, msgs[9].Offset)
	}
}

// However often it is acknowledged, a partition's position is sent once an interval.
func TestCommitsKeepTheInterval(t *testing.T) {
	t.Parallel()
	const interval = 400 * time.Millisecond
	for name, test := range map[string]struct {
		key           uint16
		transactional bool
	}{"Commits": {offsetCommit, false}, "Transactions": {endTxn, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &holder{key: test.key}
			b := openQuick(t, func(cfg *kafka.Config) { cfg.Dial = h.dial })
			topic := newTopic(t, b, 1)
			put(t, b, topic, 0, slices.Repeat([]string{"x"}, 100)...)
			sub := subscribe(t, b, brokers.SubscriptionConfig{
				Group: topic, Topics: []string{topic}, Transactional: test.transactional, AckInterval: interval,
			})
			p := accept(t, sub)
			_, msgs := fetch(t, p, 100)
			before, began := h.seen.Load(), time.Now()
			pace := time.NewTicker(interval / 40)
			defer pace.Stop()
			for i := range msgs {
				ok(t, p.Ack(brokers.Ack{UpTo: msgs[i].Offset}))
				<-pace.C
			}
			sent, most := h.seen.Load()-before, int64(time.Since(began)/interval)+1
			if sent == 0 || sent > most {
				t.Errorf("%d requests; want 1 to %d", sent, most)
			}
			closeAll(t, p, sub)
			if at := positionIn(t, topic, topic, 0); at != msgs[99].Offset+1 {
				t.Errorf("position %d; want %d", at, msgs[99].Offset+1)
			}
		})
	}
}

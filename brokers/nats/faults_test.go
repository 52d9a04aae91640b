package nats_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// member is a process of a group: it handles messages, settles some of them
// later than their successors, and closes what is wanted back.
type member struct {
	broker  brokers.Broker
	sub     brokers.Subscription
	seen    *reader
	running sync.WaitGroup
}

func newMember(t *testing.T, ls *lines, seen *reader, group, topic string) *member {
	t.Helper()
	m := &member{broker: open(t, ls), seen: seen}
	m.sub = subscribe(t, m.broker, group, topic)
	m.running.Go(func() {
		for {
			p, err := m.sub.Accept(context.Background())
			if err != nil {
				return
			}
			m.running.Go(func() { m.own(p) })
		}
	})
	return m
}

func (m *member) own(p brokers.Partition) {
	last := map[string]int{}
	var open []int64 // fetched, in order, but for what a prefix of is settled
	settled := map[int64]bool{}
	upTo := brokers.NoOffset
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		batch, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 1 + rand.IntN(40)})
		cancel()
		if errors.Is(err, brokers.ErrRevoked) {
			break
		}
		for i := range batch {
			m.seen.handle(last, &batch[i])
			open = append(open, batch[i].Offset)
			settled[batch[i].Offset] = rand.IntN(30) > 0
		}
		var above []int64
		for _, offset := range open {
			if rand.IntN(10) == 0 || len(batch) == 0 {
				settled[offset] = true
			}
			if settled[offset] {
				above = append(above, offset)
			}
		}
		for len(open) > 0 && settled[open[0]] {
			upTo = open[0]
			open = open[1:]
		}
		_ = p.Ack(brokers.Ack{UpTo: upTo, Above: above}) // the epoch may have ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.Close(ctx) // the same
}

// leave closes the membership, with a drain or without.
func (m *member) leave(ctx context.Context) {
	_ = m.sub.Close(ctx)
	m.running.Wait()
	_ = m.broker.Close()
}

// Members come and go, lose their connections and hang, and an operator takes
// their pins: whatever happens, no message of a key is handled before its
// predecessor was, and all are.
func TestFaults(t *testing.T) {
	t.Parallel()
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			faults(t, change)
		})
	}
}

func faults(t *testing.T, change func(*nats.Config)) {
	const partitions = 6
	ls := embeddedLines(startEmbedded(t))
	ls.change = change
	steady := open(t, ls)
	topic, group := makeTopic(t, steady, partitions), name("group")
	seen := &reader{highest: map[string]int{}, count: map[string]int{}}
	members := []*member{newMember(t, ls, seen, group, topic), newMember(t, ls, seen, group, topic)}
	t.Cleanup(func() {
		for _, m := range members {
			m.leave(ended())
		}
	})
	var keys []string
	for p := range partitions {
		keys = append(keys, fmt.Sprint("key", p))
	}
	round := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); round++ {
		for p, key := range keys {
			publish(t, steady, numbered(topic, int32(p), key, 100*round, 100*round+100)...)
		}
		m := members[rand.IntN(len(members))]
		line := ls.line(m.broker)
		pause := time.Duration(rand.IntN(200)) * time.Millisecond
		switch rand.IntN(6) {
		case 0:
			line.cut()
			line.mend()
		case 1:
			line.cut()
			<-time.After(5 * pause)
			line.mend()
		case 2:
			let := line.hold()
			<-time.After(5 * pause)
			let()
		case 3:
			if err := ls.manage(unpinConsumer, topic, group); err != nil {
				t.Fatal(err)
			}
		case 4:
			if len(members) < 4 {
				members = append(members, newMember(t, ls, seen, group, topic))
			}
		case 5:
			if len(members) > 1 {
				m.leave(within(t))
				members = slices.DeleteFunc(members, func(x *member) bool { return x == m })
			}
		}
		<-time.After(pause)
		seen.audit(t)
	}
	seen.await(t, 100*round-1, keys...)
	t.Logf("%d messages, of which %d came again", 100*round*partitions, seen.repeats())
}

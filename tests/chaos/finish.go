package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// finish ends the publishing, waits until all is handled, stops the members and
// judges the run.
func (f *field) finish() Verdict {
	f.Helper()
	f.confirmed()
	f.await("all that was confirmed handled", f.long(patience, longPatience), f.allHandled)
	f.disband()
	return f.judge()
}

// confirmed ends the publishing and waits until each message is confirmed.
func (f *field) confirmed() {
	f.Helper()
	f.halt()
	ctx, cancel := context.WithTimeout(f.Context(), f.long(patience, longPatience))
	defer cancel()
	f.ok(f.workload.publisher.Flush(ctx))
	f.ok(f.workload.failure())
}

// judge has a fresh member read what is left, and checks the history. The
// members have stopped.
func (f *field) judge() Verdict {
	f.Helper()
	fresh := &handler{member: Fresh, journal: f.journal}
	f.read(f.topic, func(m *brokers.Message) error {
		r, _, err := fresh.describe(m)
		fresh.write(r, Started, nil)
		fresh.write(r, Handled, nil)
		return errors.Join(err, fresh.failure())
	})
	f.update()
	v := Check(History{
		Sent: f.workload.state(), Records: f.records, Effects: f.stored(), Once: f.target.Transactional,
	}, f.target.Limits)
	f.Log(v.String())
	f.noErr(v.Err())
	return v
}

// stored reads what the handlers have published.
func (f *field) stored() map[string][]int {
	f.Helper()
	var mu sync.Mutex
	effects := map[string][]int{}
	f.read(f.effects, func(m *brokers.Message) error {
		about, err := parse(m)
		mu.Lock()
		defer mu.Unlock()
		effects[about.key] = append(effects[about.key], about.number)
		return err
	})
	return effects
}

// lastWords is the payload of the message that ends each partition.
const lastWords = "end"

// read reads what the group's position on a topic still has a fresh member be
// given, all partitions at once. Like the members, it is transactional where they
// were, which ends what killed ones have left open.
func (f *field) read(topic string, take func(*brokers.Message) error) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), f.long(patience, longPatience))
	defer cancel()
	f.ok(f.endPartitions(ctx, topic))
	sub, err := f.direct.Subscribe(ctx, brokers.SubscriptionConfig{
		Group: f.group, Topics: []string{topic}, Transactional: f.target.Transactional,
	})
	f.ok(err)
	defer func() { f.noErr(sub.Close(ctx)) }()
	var owned []brokers.Partition
	var reading sync.WaitGroup
	defer func() {
		reading.Wait()
		for _, p := range owned { // not before: it might be offered again
			f.noErr(p.Close(ctx))
		}
	}()
	for range Partitions {
		p, err := sub.Accept(ctx)
		if err != nil {
			f.Errorf("the fresh member was not given every partition of %q: %v", topic, err)
			return
		}
		owned = append(owned, p)
		reading.Go(func() { f.noErr(readPartition(ctx, p, take)) })
	}
}

// endPartitions publishes the message after which there is nothing more.
func (f *field) endPartitions(ctx context.Context, topic string) error {
	publisher, err := f.direct.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	if err != nil {
		return err
	}
	var ends []brokers.Message
	for id := range int32(Partitions) {
		ends = append(ends, brokers.Message{
			ID: lastWords + strconv.Itoa(int(id)), Topic: topic, Partition: id,
			Key: []byte(lastWords), Payload: []byte(lastWords),
		})
	}
	_, err = publisher.Publish(ctx, ends...)
	return errors.Join(err, publisher.Close(ctx))
}

func readPartition(ctx context.Context, p brokers.Partition, take func(*brokers.Message) error) error {
	for {
		messages, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 100})
		if err != nil {
			return fmt.Errorf("the fresh member did not come to the end of %q, partition %d: %w", p.Topic(), p.ID(), err)
		}
		for i := range messages {
			if string(messages[i].Payload) == lastWords {
				return p.Ack(brokers.Ack{UpTo: messages[i].Offset})
			}
			if err := take(&messages[i]); err != nil {
				return err
			}
		}
		// Brokers deliver no more than so many that are not acknowledged.
		if err := p.Ack(brokers.Ack{UpTo: messages[len(messages)-1].Offset}); err != nil {
			return err
		}
	}
}

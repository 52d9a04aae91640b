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
	f.await("all that was confirmed handled", patience, f.allHandled)
	f.disband()
	return f.judge()
}

// confirmed ends the publishing and waits until each message is confirmed.
func (f *field) confirmed() {
	f.Helper()
	f.halt()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	f.ok(f.workload.publisher.Flush(ctx))
	f.ok(f.workload.failure())
}

// judge has a fresh member read what is left, and checks the history. The
// members have stopped.
func (f *field) judge() Verdict {
	f.Helper()
	f.readRest()
	f.update()
	v := Check(History{Sent: f.workload.state(), Records: f.records}, f.target.Limits)
	f.Log(v.String())
	f.noErr(v.Err())
	return v
}

// lastWords is the payload of the message that ends each partition.
const lastWords = "end"

// readRest reads what the group's position has a fresh member be given, and
// writes it down as handled by that.
func (f *field) readRest() {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	f.ok(f.endPartitions(ctx))
	sub, err := f.direct.Subscribe(ctx, brokers.SubscriptionConfig{Group: f.group, Topics: []string{f.topic}})
	f.ok(err)
	defer func() { f.noErr(sub.Close(ctx)) }()
	var reading sync.WaitGroup
	defer reading.Wait()
	for range partitions {
		p, err := sub.Accept(ctx)
		if err != nil {
			f.Errorf("the fresh member was not given every partition: %v", err)
			return
		}
		// Closed by the time that the subscription waits for it.
		reading.Go(func() { f.noErr(errors.Join(f.readPartition(ctx, p), p.Close(ctx))) })
	}
}

// endPartitions publishes the message after which there is nothing more.
func (f *field) endPartitions(ctx context.Context) error {
	publisher, err := f.direct.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	if err != nil {
		return err
	}
	var ends []brokers.Message
	for id := range int32(partitions) {
		ends = append(ends, brokers.Message{
			ID: lastWords + strconv.Itoa(int(id)), Topic: f.topic, Partition: id,
			Key: []byte(lastWords), Payload: []byte(lastWords),
		})
	}
	_, err = publisher.Publish(ctx, ends...)
	return errors.Join(err, publisher.Close(ctx))
}

func (f *field) readPartition(ctx context.Context, p brokers.Partition) error {
	h := &handler{member: "fresh", journal: f.journal}
	for {
		messages, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 100})
		if err != nil {
			return fmt.Errorf("the fresh member did not come to the end of partition %d: %w", p.ID(), err)
		}
		for i := range messages {
			if string(messages[i].Payload) == lastWords {
				return p.Ack(brokers.Ack{UpTo: messages[i].Offset})
			}
			r, _, err := h.describe(&messages[i])
			if err != nil {
				return err
			}
			h.write(r, Started, nil)
			h.write(r, Handled, nil)
		}
	}
}

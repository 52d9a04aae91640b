package brokertest_test

import (
	"context"
	"slices"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

var publishMutations = []mutation{
	{name: "mixes receipts up", test: "Publish/Receipts", says: "receipt", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			var last brokers.Receipt
			for _, o := range batch {
				receipt, err := r.publish(context.Background(), o.Message, o.Partition)
				o.Done(last, err)
				last = receipt
			}
		},
	}},
	{name: "ignores the partition", test: "Publish/ByKey", says: "", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				o.Done(r.publish(context.Background(), o.Message, 0))
			}
		},
	}},
	{name: "sends a batch backwards", test: "Publish/Many", says: "has payload", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range slices.Backward(batch) {
				r.pass(context.Background(), o)
			}
		},
	}},
	{name: "confirms what it did not store", test: "Publish/Many", says: "Fetch: context deadline exceeded", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for i, o := range batch {
				if i%100 == 99 {
					o.Done(brokers.Receipt{Topic: o.Message.Topic, Partition: o.Partition, Offset: brokers.NoOffset}, nil)
					continue
				}
				r.pass(context.Background(), o)
			}
		},
	}},
	{name: "stores after it confirmed", test: "Publish/Copies", says: "payload: got", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				m, partition := *o.Message, o.Partition
				o.Done(brokers.Receipt{Topic: m.Topic, Partition: partition, Offset: brokers.NoOffset}, nil)
				time.AfterFunc(20*time.Millisecond, func() { _, _ = r.publish(context.Background(), &m, partition) })
			}
		},
	}},
	{name: "fails the neighbours of a large message", test: "Publish/RefusedByServer", says: "want a PublishError of index 1 of 3 only", cfg: memory.Config{MaxMessageBytes: 2 << 20}, hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			large := slices.ContainsFunc(batch, func(o *brokers.Outbound) bool { return o.Message.Size() > 2<<20 })
			for _, o := range batch {
				if large {
					o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Refused, Err: brokers.ErrTooLarge})
					continue
				}
				r.pass(context.Background(), o)
			}
		},
	}},
	{name: "does not recognise duplicates", test: "Publish/Deduplicated", says: "to be a duplicate", cfg: memory.Config{DedupWindow: time.Minute}, hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				receipt, err := r.publish(context.Background(), o.Message, o.Partition)
				receipt.Duplicate = false
				o.Done(receipt, err)
			}
		},
	}},
	{name: "loses what is published while cut off", test: "Publish/WhileDisconnected", says: "", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				if !r.mutant.Broker.Health(context.Background()).Connected {
					o.Done(brokers.Receipt{Topic: o.Message.Topic, Partition: o.Partition}, nil)
					continue
				}
				r.pass(context.Background(), o)
			}
		},
	}},
}

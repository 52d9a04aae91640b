package brokers

import (
	"context"
	"hash/maphash"
)

// lanes is how many lanes keep the order. Keys that share one wait for each
// other, so it is no less than a usual window; it is fixed, so that there is no
// memory for each key.
const lanes = 4096

// route finds a message's partition and lane, in the caller's goroutine, as the
// partition count may have to come from the broker. The error is a *SendError.
func (p *Publisher) route(ctx context.Context, o *Outbound) error {
	m := o.Message
	if err := Check(m, p.cfg.MaxMessageBytes); err != nil {
		return &SendError{Outcome: Refused, Err: err}
	}
	o.size = m.Size()
	n, err := p.sender.Partitions(ctx, m.Topic)
	if err != nil {
		return notSent(err)
	}
	if n < 1 {
		return notSent(ErrUnknownTopic)
	}
	key, keyed, err := p.partition(o, n)
	if err != nil {
		return &SendError{Outcome: Refused, Err: err}
	}
	if p.ordered(o) {
		o.lane = &p.lanes[p.lane(m.Topic, o.Partition, key, keyed)]
	}
	return nil
}

// ordered says whether o has a lane. Where the driver keeps the order, lanes
// only order the callbacks.
func (p *Publisher) ordered(o *Outbound) bool {
	return p.lanes != nil && (!p.sequenced || o.done != nil)
}

// partition sets o.Partition and returns the key that orders.
func (p *Publisher) partition(o *Outbound, n int) (key []byte, keyed bool, err error) {
	if p.byKey != nil {
		o.Partition, key, keyed = p.byKey.choose(o.Message, n)
		return key, keyed, nil
	}
	o.Partition, err = p.cfg.Partitioner.Partition(o.Message, n)
	if err == nil && (o.Partition < 0 || int(o.Partition) >= n) {
		err = invalid("Message.Partition", "is %d, and topic %q has %d", o.Partition, o.Message.Topic, n)
	}
	return o.Message.Key, o.Message.Key != nil, err
}

// lane hashes what is to be kept in order.
func (p *Publisher) lane(topic string, partition int32, key []byte, keyed bool) uint64 {
	h := maphash.String(p.seed, topic)
	if keyed {
		return (h*31 + maphash.Bytes(p.seed, key)) % lanes
	}
	return (h + uint64(partition)) % lanes
}

package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol/initproducerid"

	"github.com/troupe-go/troupe/brokers"
)

// sender is the driver's half of a Publisher. Messages wait on the track of
// their partition, and go by the wire to its leader.
type sender struct {
	b *Broker
	c *client

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	tracks    map[string][]*track // by topic and partition
	latest    []*track            // those of the topic used last, as most batches have one
	wires     map[int32]*wire     // by node
	lingering []*track
	linger    *time.Timer
	stuck     []*track
	mending   bool
	err       error // why something is stuck
	reports   []brokers.Result
	spare     sync.Pool // of *[]brokers.Result, memory for reports

	identifying sync.Mutex // held while the producer is asked for
	producer    producer
}

var (
	_ brokers.Holder  = (*sender)(nil)
	_ brokers.Staller = (*sender)(nil)
)

func newSender(b *Broker) *sender {
	s := &sender{b: b, c: b.client, tracks: map[string][]*track{}, wires: map[int32]*wire{}, producer: noProducer}
	s.ctx, s.cancel = context.WithCancel(b.client.ctx)
	return s
}

// HoldsUntilBegin implements [brokers.Holder]: messages wait for their parcel, and
// parcels for a connection.
func (s *sender) HoldsUntilBegin() {}

// Partitions implements [brokers.Sender].
func (s *sender) Partitions(ctx context.Context, name string) (int, error) {
	t, err := s.c.metadata.topic(ctx, name)
	return len(t.leaders), err
}

// Stalled implements [brokers.Staller].
func (s *sender) Stalled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.stuck) == 0 {
		return nil
	}
	return s.err
}

// Send implements [brokers.Sender].
func (s *sender) Send(_ context.Context, batch []*brokers.Outbound) {
	s.mu.Lock()
	defer s.unlock()
	for _, o := range batch {
		t := s.track(o.Message.Topic, o.Partition)
		if t == nil {
			s.reports = append(s.reports, brokers.Result{Outbound: o, Err: &brokers.SendError{
				Outcome: brokers.Refused,
				Err:     fmt.Errorf("%w: topic %q has no partition %d", brokers.ErrInvalid, o.Message.Topic, o.Partition),
			}})
			continue
		}
		t.queue.push(o)
		s.place(t)
	}
}

// track returns the way to a partition; nil if the topic has none of that number.
func (s *sender) track(name string, partition int32) *track {
	tracks := s.latest
	if len(tracks) == 0 || tracks[0].topic != name {
		tracks = s.tracks[name]
	}
	if int(partition) >= len(tracks) {
		tracks = s.lay(name)
	}
	s.latest = tracks
	if partition < 0 || int(partition) >= len(tracks) {
		return nil
	}
	return tracks[partition]
}

// lay makes tracks for all partitions of a topic that are known.
func (s *sender) lay(name string) []*track {
	known, _ := s.c.metadata.cached(name)
	tracks := s.tracks[name]
	for id := len(tracks); id < len(known.leaders); id++ {
		tracks = append(tracks, &track{topic: name, partition: int32(id), leader: known.leaders[id], producer: noProducer})
	}
	s.tracks[name] = tracks
	return tracks
}

// place puts a track that is idle, or lingers, where it is to wait now.
func (s *sender) place(t *track) {
	switch t.place {
	case placeIdle:
	case placeLingering:
		if !s.full(t) {
			return
		}
		s.lingering = slices.DeleteFunc(s.lingering, func(x *track) bool { return x == t })
	case placeDue, placeUnderWay, placeStuck:
		return
	}
	switch {
	case t.idle():
		t.place = placeIdle
	case t.leader == noLeader:
		s.stick(t, errNoLeader)
	case s.c.cfg.Linger > 0 && t.parcel == nil && t.suspects == 0 && !s.full(t):
		s.lingerFor(t)
	default:
		s.makeDue(t)
	}
}

// full says whether the next parcel need not wait for more messages.
func (s *sender) full(t *track) bool {
	return t.queue.len() >= s.c.cfg.BatchMessages || t.queue.bytes >= s.c.cfg.BatchBytes || t.largest > 0 && t.queue.bytes >= t.largest
}

func (s *sender) makeDue(t *track) {
	w := s.wires[t.leader]
	if w == nil {
		w = newWire(s, t.leader)
		s.wires[t.leader] = w
	}
	t.place = placeDue
	w.due = append(w.due, t)
	w.kick()
}

// lingerFor lets a track wait for more messages. One time is set for all that
// do, so that none waits longer than Linger.
func (s *sender) lingerFor(t *track) {
	t.place = placeLingering
	s.lingering = append(s.lingering, t)
	if len(s.lingering) > 1 {
		return
	}
	if s.linger == nil {
		s.linger = time.AfterFunc(s.c.cfg.Linger, s.Flush)
		return
	}
	s.linger.Reset(s.c.cfg.Linger)
}

// Flush implements [brokers.Sender]: what lingers is due.
func (s *sender) Flush() {
	s.mu.Lock()
	defer s.unlock()
	if s.closed {
		return
	}
	for _, t := range s.lingering {
		s.makeDue(t)
	}
	s.lingering = s.lingering[:0]
}

// unlock releases mu and makes the reports that are due.
func (s *sender) unlock() {
	if len(s.reports) == 0 {
		s.mu.Unlock()
		return
	}
	reports := s.reports
	s.reports = nil
	if spare, ok := s.spare.Get().(*[]brokers.Result); ok {
		s.reports = *spare
	}
	s.mu.Unlock()
	brokers.DoneAll(reports)
	clear(reports)
	reports = reports[:0]
	s.spare.Put(&reports)
}

// Close implements [brokers.Sender].
func (s *sender) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	if s.linger != nil {
		s.linger.Stop()
	}
	s.mu.Unlock()
	s.disconnect()
	s.running.Wait()
	s.disconnect() // what was connected meanwhile
	s.b.open.Published(s)
	return nil
}

// disconnect closes all connections, and ends what is under way.
func (s *sender) disconnect() {
	s.mu.Lock()
	var open []*conn
	for _, w := range s.wires {
		if w.conn != nil {
			open = append(open, w.conn)
		}
	}
	s.mu.Unlock()
	for _, x := range open {
		s.c.drop(x)
	}
}

// identify returns the producer that numbers messages, and asks the cluster for
// it the first time.
func (s *sender) identify() (producer, error) {
	s.identifying.Lock()
	defer s.identifying.Unlock()
	if s.producer != noProducer {
		return s.producer, nil
	}
	p, err := s.c.newProducer(s.ctx)
	if err == nil {
		s.producer = p
	}
	return p, err
}

// newProducer asks the cluster for a producer without transactions.
func (c *client) newProducer(ctx context.Context) (producer, error) {
	answer, err := c.do(ctx, anyNode, &initproducerid.Request{ProducerID: -1, ProducerEpoch: -1}, c.cfg.RequestTimeout)
	if err != nil {
		return noProducer, err
	}
	a := answer.(*initproducerid.Response)
	if err := codeError(a.ErrorCode); err != nil {
		return noProducer, fmt.Errorf("kafka: producer id: %w", err)
	}
	return producer{a.ProducerID, a.ProducerEpoch}, nil
}

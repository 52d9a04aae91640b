package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

var (
	errDisconnected = errors.New("memory: disconnected")
	errKilled       = errors.New("memory: thrown out of the group")
	errHeld         = errors.New("memory: publishes are held")
	errLostConfirm  = errors.New("memory: confirmation lost")
)

// sender is the driver's half of a Publisher. Send is called by one goroutine
// at a time, and owns all fields.
type sender struct {
	conn    *Broker
	routes  map[string]*route
	latest  *route  // the one used last: most batches have one topic
	touched []*lane // by the batch at hand
}

// route is a topic with a lane for each partition.
type route struct {
	topic *topic
	lanes []lane
}

// lane is the part of a batch that goes to one partition.
type lane struct {
	log      *log
	out      []*brokers.Outbound
	messages []*brokers.Message
}

func newSender(conn *Broker) *sender {
	return &sender{conn: conn, routes: map[string]*route{}}
}

// Partitions implements [brokers.Sender]. What is there never changes, so only
// a topic that is not waits for the connection.
func (s *sender) Partitions(ctx context.Context, name string) (int, error) {
	if n := s.conn.server.Partitions(name); n > 0 {
		return n, nil
	}
	if err := s.conn.up(ctx); err != nil {
		return 0, err
	}
	t, err := s.conn.server.topicToPublish(name)
	if err != nil {
		return 0, err
	}
	return len(t.logs), nil
}

// Send implements [brokers.Sender].
func (s *sender) Send(ctx context.Context, batch []*brokers.Outbound) {
	batch = s.reach(ctx, batch)
	for _, o := range batch {
		if err := s.sort(o); err != nil {
			o.Done(brokers.Receipt{}, err)
		}
	}
	now := time.Now()
	for _, l := range s.touched {
		l.store(now)
	}
	s.touched = s.touched[:0]
	s.conn.server.changes.note()
}

// sort puts a message on its lane.
func (s *sender) sort(o *brokers.Outbound) error {
	r, err := s.route(o.Message.Topic)
	if err != nil {
		return &brokers.SendError{Outcome: brokers.Refused, Err: err}
	}
	if o.Partition < 0 || int(o.Partition) >= len(r.lanes) {
		return &brokers.SendError{Outcome: brokers.Refused, Err: fmt.Errorf("%w: partition %d of topic %q, which has %d",
			brokers.ErrInvalid, o.Partition, o.Message.Topic, len(r.lanes))}
	}
	if err := s.conn.server.refusal(o.Message); err != nil {
		return err
	}
	l := &r.lanes[o.Partition]
	if len(l.out) == 0 {
		s.touched = append(s.touched, l)
	}
	l.out = append(l.out, o)
	return nil
}

func (s *sender) route(name string) (*route, error) {
	if s.latest != nil && s.latest.topic.name == name {
		return s.latest, nil
	}
	r := s.routes[name]
	if r == nil {
		t, err := s.conn.server.topicToPublish(name)
		if err != nil {
			return nil, err
		}
		r = &route{topic: t, lanes: make([]lane, len(t.logs))}
		for i := range r.lanes {
			r.lanes[i].log = t.logs[i]
		}
		s.routes[name] = r
	}
	s.latest = r
	return r, nil
}

// refusal says why the server does not take a message, nil if it does.
func (s *Server) refusal(m *brokers.Message) error {
	if most := s.cfg.MaxMessageBytes; most > 0 && m.Size() > most {
		return &brokers.SendError{
			Outcome: brokers.Refused,
			Err:     fmt.Errorf("%w: %d bytes, the broker takes %d", brokers.ErrTooLarge, m.Size(), most),
		}
	}
	if err := s.faults.onPublish.verdict(m); err != nil {
		return asSendError(err)
	}
	return nil
}

// asSendError takes an error that says no outcome for a refusal.
func asSendError(err error) error {
	var known *brokers.SendError
	if errors.As(err, &known) {
		return err
	}
	return &brokers.SendError{Outcome: brokers.Refused, Err: err}
}

// store appends the lane to its log, confirms it and empties the lane.
func (l *lane) store(now time.Time) {
	defer l.reset()
	if l.log.topic.server.cfg.DedupWindow > 0 {
		l.storeOnce(now)
		return
	}
	for _, o := range l.out {
		l.messages = append(l.messages, o.Message)
	}
	first := l.log.append(l.messages, now)
	for i, o := range l.out {
		l.confirm(o, l.receipt(first+int64(i)))
	}
}

// storeOnce is store for topics that remember IDs.
func (l *lane) storeOnce(now time.Time) {
	t := l.log.topic
	t.dedup.mu.Lock()
	defer t.dedup.mu.Unlock()
	for _, o := range l.out {
		r, ok := t.dedup.find(o.Message.ID, now, t.server.cfg.DedupWindow)
		if !ok {
			l.messages = append(l.messages[:0], o.Message)
			r = l.receipt(l.log.append(l.messages, now))
			t.dedup.remember(o.Message.ID, r, now)
		}
		l.confirm(o, r)
	}
}

func (l *lane) receipt(offset int64) brokers.Receipt {
	return brokers.Receipt{Topic: l.log.topic.name, Partition: l.log.id, Offset: offset}
}

func (l *lane) confirm(o *brokers.Outbound, r brokers.Receipt) {
	if l.log.topic.server.faults.lostConfirms.take() {
		o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Unknown, Err: errLostConfirm})
		return
	}
	o.Done(r, nil)
}

// reset forgets the batch and keeps the room.
func (l *lane) reset() {
	clear(l.out)
	clear(l.messages)
	l.out, l.messages = l.out[:0], l.messages[:0]
}

// Flush implements [brokers.Sender]: nothing is held back.
func (s *sender) Flush() {}

// Close implements [brokers.Sender].
func (s *sender) Close() error {
	s.conn.server.mu.Lock()
	defer s.conn.server.mu.Unlock()
	delete(s.conn.senders, s)
	return nil
}

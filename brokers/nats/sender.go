package nats

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
)

// errUnconfirmed is why a message's outcome is unknown after PublishTimeout.
var errUnconfirmed = fmt.Errorf("nats: not confirmed in time: %w", context.DeadlineExceeded)

// sender is the driver's half of a Publisher. Confirmations come to an inbox of
// its own; the last token of their subject is the number of the slot that waits.
type sender struct {
	b *Broker

	// Used by Send only, which one goroutine at a time calls.
	encoder  *encoder
	subjects map[place]string
	reply    []byte
	idPrefix string
	ids      uint64

	slots slots

	mu     sync.Mutex
	inbox  string // with a dot at the end
	sub    *nats.Subscription
	timer  *time.Timer
	closed bool
}

// place is a partition.
type place struct {
	topic     string
	partition int32
}

// generatedID begins ids that the driver gives to messages without one. They are
// for the server's deduplication only; receivers do not see them.
const generatedID = "troupe~"

var (
	_ brokers.Sender  = (*sender)(nil)
	_ brokers.Staller = (*sender)(nil)
)

func newSender(b *Broker) *sender {
	id := uuid.New()
	return &sender{
		b:        b,
		encoder:  newEncoder(),
		subjects: map[place]string{},
		idPrefix: generatedID + base64.RawURLEncoding.EncodeToString(id[:]) + "-",
	}
}

// Partitions implements [brokers.Sender]. While the server does not answer it
// asks again, for as long as the publisher's caller waits.
func (s *sender) Partitions(ctx context.Context, name string) (int, error) {
	if s.b.topics.mapped(name) != nil {
		return 0, fmt.Errorf("%w: Message.Topic %q is a stream that others made", brokers.ErrInvalid, name)
	}
	for failures := 0; ; failures++ {
		found, err := s.b.topics.get(ctx, name)
		if err == nil || !unanswered(err) {
			return found.partitions, err
		}
		pause(ctx, failures, nil)
		if ctx.Err() != nil {
			return 0, err
		}
	}
}

// Stalled implements [brokers.Staller].
func (s *sender) Stalled() error {
	if up, _, err := s.b.link.state(); !up {
		return err
	}
	return nil
}

// Flush implements [brokers.Sender]: the client sends by itself.
func (s *sender) Flush() {}

// Send implements [brokers.Sender].
func (s *sender) Send(_ context.Context, batch []*brokers.Outbound) {
	if err := s.listen(); err != nil {
		for _, o := range batch {
			o.Done(brokers.Receipt{}, notSent(err))
		}
		return
	}
	now := time.Now()
	for _, o := range batch {
		s.send(o, now)
	}
}

// send puts one message on the wire, or reports why not.
func (s *sender) send(o *brokers.Outbound, now time.Time) {
	if o.Message.ID == "" {
		// The Outbound is the same when the message is sent again.
		s.ids++
		o.Message.ID = s.idPrefix + strconv.FormatUint(s.ids, 36)
	}
	msg, err := s.encoder.encode(o.Message)
	if err != nil {
		o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Refused, Err: err})
		return
	}
	at := place{o.Message.Topic, o.Partition}
	msg.Subject = s.subject(at)
	number := s.slots.put(o, now)
	s.reply = strconv.AppendUint(append(s.reply[:0], s.inbox...), number, 36)
	msg.Reply = string(s.reply)
	if err := s.b.nc.PublishMsg(msg); err != nil {
		if o := s.slots.take(number); o != nil {
			o.Done(brokers.Receipt{}, s.failure(err))
		}
	}
}

func (s *sender) subject(at place) string {
	subject, ok := s.subjects[at]
	if !ok {
		subject = partitionSubject(at.topic, at.partition)
		s.subjects[at] = subject
	}
	return subject
}

// failure is why the client did not send a message.
func (s *sender) failure(err error) *brokers.SendError {
	if errors.Is(err, nats.ErrMaxPayload) {
		return &brokers.SendError{
			Outcome: brokers.Refused,
			Err:     fmt.Errorf("%w: the server takes %d bytes: %w", brokers.ErrTooLarge, s.b.nc.MaxPayload(), err),
		}
	}
	return notSent(err)
}

func notSent(err error) *brokers.SendError {
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = brokers.ErrClosed
	}
	return &brokers.SendError{Outcome: brokers.NotSent, Err: err}
}

// listen subscribes to the confirmations, once.
func (s *sender) listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return brokers.ErrClosed
	}
	if s.sub != nil {
		return nil
	}
	inbox := s.b.nc.NewInbox() + "."
	sub, err := s.b.nc.Subscribe(inbox+"*", s.confirmed)
	if err != nil {
		return err
	}
	// What is on its way is bounded by the Publisher's window.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return errors.Join(err, sub.Unsubscribe())
	}
	s.inbox, s.sub = inbox, sub
	s.timer = time.AfterFunc(s.patience(), s.sweep)
	s.b.link.watch(s, watch{lost: s.lost, back: func() {}})
	return nil
}

// patience is how often slots are looked at for messages without an answer.
func (s *sender) patience() time.Duration { return s.b.cfg.PublishTimeout / 4 }

// confirmed is called by the client with an answer.
func (s *sender) confirmed(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return // not one of ours
	}
	o := s.slots.take(number)
	if o == nil {
		return // it was given up
	}
	c, err := parseConfirmation(m)
	if err != nil {
		s.b.topics.forget(o.Message.Topic) // it may be gone
		o.Done(brokers.Receipt{}, err)
		return
	}
	o.Done(brokers.Receipt{
		Topic: o.Message.Topic, Partition: o.Partition,
		Offset: int64(c.seq), Duplicate: c.duplicate,
	}, nil)
}

// sweep gives up what was not answered in time.
func (s *sender) sweep() {
	s.giveUp(time.Now().Add(-s.b.cfg.PublishTimeout), errUnconfirmed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.timer.Reset(s.patience())
	}
}

// lost gives up all that is under way: with the connection the answers are gone.
func (s *sender) lost() { s.giveUp(time.Now(), errCut) }

// giveUp reports what was sent until then as unknown.
func (s *sender) giveUp(until time.Time, cause error) {
	for _, o := range s.slots.takeOld(until) {
		o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Unknown, Err: cause})
	}
}

// Close implements [brokers.Sender].
func (s *sender) Close() error {
	s.mu.Lock()
	sub := s.sub
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.b.link.unwatch(s)
	s.b.open.Published(s)
	var err error
	if sub != nil {
		err = sub.Unsubscribe()
	}
	s.giveUp(time.Now(), brokers.ErrClosed)
	if errors.Is(err, nats.ErrConnectionClosed) {
		return nil // and the subscription with it
	}
	return err
}

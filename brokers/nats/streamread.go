package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// StreamStart is where reading begins. At most one field is set.
type StreamStart struct {
	// New begins with what comes from now on.
	New bool
	// Sequence is the stream sequence of the first message.
	Sequence uint64
	// Time begins with the first message stored at it or later.
	Time time.Time
}

// StreamReader is what to read of a stream, whoever made it.
type StreamReader struct {
	// Stream is its name. Required.
	Stream string
	// Filters are the subjects to read, with wildcards. Defaults to all.
	Filters []string
	// Durable is a consumer that remembers how far it has come: messages are
	// acknowledged one by one, in order, and a second reader of that name waits
	// for the first one's. Its Filters and Start are those of when it was made.
	// Defaults to none: reading begins at Start each time.
	Durable string
	// Start is where it begins. Defaults to the first message there is.
	Start StreamStart
}

func (r StreamReader) validate() error {
	if r.Stream == "" {
		return fmt.Errorf("%w: StreamReader.Stream is empty", brokers.ErrInvalid)
	}
	for _, f := range r.Filters {
		if !validSubject(f, true) {
			return fmt.Errorf("%w: StreamReader.Filters: no subject: %q", brokers.ErrInvalid, f)
		}
	}
	set := 0
	for _, is := range []bool{r.Start.New, r.Start.Sequence > 0, !r.Start.Time.IsZero()} {
		if is {
			set++
		}
	}
	if set > 1 {
		return fmt.Errorf("%w: StreamReader.Start has more than one of New, Sequence and Time", brokers.ErrInvalid)
	}
	return nil
}

// policy is the start as the server has it.
func (s StreamStart) policy() (p jetstream.DeliverPolicy, seq uint64, at *time.Time) {
	switch {
	case s.New:
		return jetstream.DeliverNewPolicy, 0, nil
	case s.Sequence > 0:
		return jetstream.DeliverByStartSequencePolicy, s.Sequence, nil
	case !s.Time.IsZero():
		return jetstream.DeliverByStartTimePolicy, 0, &s.Time
	}
	return jetstream.DeliverAllPolicy, 0, nil
}

// ReadStream gives the messages of a stream to handle, one at a time, in the
// order of the stream, until ctx ends (nil) or handle returns an error, which it
// returns. Message.Topic is the subject, Offset the stream sequence. With Durable
// it is at least once: a message whose handle failed comes again. Without, a
// message comes once for each call of ReadStream. [brokers.ErrUnknownTopic] says
// that there is no such stream.
func (b *Broker) ReadStream(ctx context.Context, cfg StreamReader, handle func(context.Context, *brokers.Message) error) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	consumer, err := b.readerOf(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: stream %q", brokers.ErrUnknownTopic, cfg.Stream)
	}
	if err != nil {
		return fmt.Errorf("nats: read stream %q: %w", cfg.Stream, err)
	}
	// The server's hints of what went wrong are its own to mend.
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("nats: read stream %q: %w", cfg.Stream, err)
	}
	var failed jetstream.Msg
	defer func() { giveBack(messages, cfg.Durable != "", failed) }()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			failed = msg
			return nil
		}
		if err != nil {
			return fmt.Errorf("nats: read stream %q: %w", cfg.Stream, err)
		}
		if err := b.give(ctx, cfg, msg, handle); err != nil {
			failed = msg
			return err
		}
	}
}

// giveBack ends the reading, and has the next reader get at once what was not
// handled: one message, as no more than one is out.
func giveBack(messages jetstream.MessagesContext, durable bool, failed jetstream.Msg) {
	if !durable {
		messages.Stop()
		return
	}
	messages.Drain() // first, or it would be delivered here again
	for {
		msg, err := messages.Next()
		if err != nil {
			break
		}
		failed = msg
	}
	if failed != nil {
		_ = failed.Nak() // without a connection it comes when AckWait is over
	}
}

func (b *Broker) readerOf(ctx context.Context, cfg StreamReader) (jetstream.Consumer, error) {
	ctx, cancel := b.request(ctx)
	defer cancel()
	policy, seq, at := cfg.Start.policy()
	if cfg.Durable == "" {
		return b.js.OrderedConsumer(ctx, cfg.Stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: cfg.Filters, DeliverPolicy: policy, OptStartSeq: seq, OptStartTime: at,
		})
	}
	name := token(cfg.Durable)
	found, err := b.js.Consumer(ctx, cfg.Stream, name)
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return found, err
	}
	return b.js.CreateConsumer(ctx, cfg.Stream, jetstream.ConsumerConfig{
		Durable: name, FilterSubjects: cfg.Filters, DeliverPolicy: policy, OptStartSeq: seq, OptStartTime: at,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: readerAckWait,
		MaxAckPending: 1, // or what is delivered again would come behind others
	})
}

// readerAckWait is how long a reader that crashed holds up the next.
const readerAckWait = 30 * time.Second

// give has one message handled, and keeps it from coming again meanwhile.
func (b *Broker) give(ctx context.Context, cfg StreamReader, msg jetstream.Msg, handle func(context.Context, *brokers.Message) error) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("nats: read stream %q: %w", cfg.Stream, err)
	}
	raw := &nats.Msg{Header: msg.Headers(), Data: msg.Data()}
	if wakes(raw) { // in the stream of a topic
		if cfg.Durable == "" {
			return nil
		}
		return msg.Ack()
	}
	m := decode(raw, delivery{count: int(meta.NumDelivered), seq: meta.Sequence.Stream, time: meta.Timestamp.UnixNano()}, cfg.Stream)
	m.Topic = msg.Subject()
	if cfg.Durable == "" {
		return handle(ctx, &m)
	}
	stop := b.keepAlive(msg)
	err = handle(ctx, &m)
	stop()
	if err != nil {
		return err
	}
	return msg.Ack()
}

// keepAlive tells the server that a message is at work, until it is stopped.
func (b *Broker) keepAlive(msg jetstream.Msg) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(readerAckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if err := msg.InProgress(); err != nil {
					b.link.complaint(err)
				}
			}
		}
	}()
	return func() { close(done); <-ended }
}

// PublishLater stores m, to be delivered to its subject m.Topic at a time, to
// the second. schedule is a subject of its own of the same stream, which must
// have Schedules (nats-server 2.12): a later message to it replaces this one. Nil
// means that the server has stored it.
func (b *Broker) PublishLater(ctx context.Context, schedule string, at time.Time, m *brokers.Message) error {
	if !validSubject(m.Topic, false) || !validSubject(schedule, false) || m.Topic == schedule {
		return fmt.Errorf("%w: subjects %q and %q", brokers.ErrInvalid, m.Topic, schedule)
	}
	ctx, cancel := b.request(ctx)
	defer cancel()
	return b.withEncoded(m, func(msg *nats.Msg) error {
		later := nats.NewMsg(schedule)
		later.Header, later.Data = msg.Header, msg.Data
		_, err := b.js.PublishMsg(ctx, later, jetstream.WithScheduleAt(at), jetstream.WithScheduleTarget(m.Topic))
		if err != nil {
			return fmt.Errorf("nats: publish later to %q: %w", m.Topic, b.sent(err))
		}
		return nil
	})
}

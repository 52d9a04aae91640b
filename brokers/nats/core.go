package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// Core is core NATS on a Broker's connection: subjects and queue groups, without
// JetStream. It is at most once: nothing is stored, nothing is confirmed, nobody
// is asked to send again. A message reaches who listens when it is published,
// unless the connection breaks or the listener is too slow. The order is that of
// one publisher to one subscription; a queue group pays no heed to keys.
//
// All methods may be called concurrently.
type Core struct{ b *Broker }

// Core returns core NATS on this connection.
func (b *Broker) Core() Core { return Core{b} }

// Features says what core NATS can do: it competes, and answers requests. All
// that is durable, ordered by key or confirmed is JetStream's.
func (Core) Features() brokers.Features {
	return brokers.Features{Competing: true, RequestReply: true}
}

// Publish hands m to the client, for the subject m.Topic. Nil means that it is
// on its way, not that anybody has it. Without a connection it fails at once:
// nothing is kept for later. [brokers.ErrInvalid] and [brokers.ErrTooLarge] are
// for good.
func (c Core) Publish(m *brokers.Message) error {
	if !validSubject(m.Topic, false) {
		return fmt.Errorf("%w: Message.Topic is no subject to publish to: %q", brokers.ErrInvalid, m.Topic)
	}
	return c.b.sent(c.b.put(m, m.Topic, "", 0))
}

// Flush waits until the server has taken all that was published.
func (c Core) Flush(ctx context.Context) error {
	ctx, cancel := c.b.request(ctx)
	defer cancel()
	return c.b.sent(c.b.nc.FlushWithContext(ctx))
}

// CoreSubscription is what to listen to, and how much may wait.
type CoreSubscription struct {
	// Subject, with the wildcards * and > as NATS has them. Required.
	Subject string
	// Queue shares the messages: each goes to one of its members. Defaults to
	// none: this subscription gets all.
	Queue string
	// MaxPending and MaxPendingBytes bound what waits for Handle, and is
	// in it. What comes beyond them is dropped. Default to 65,536 messages and
	// 64 MiB.
	MaxPending      int
	MaxPendingBytes int
	// Handle gets the messages, one at a time. m is valid until it returns: the
	// next one has its place. Its payload, key and headers stay. A panic is
	// logged, and the next message comes. Required.
	Handle func(m *brokers.Message)
	// OnDropped is told when messages begin to be dropped, and of the rest at
	// the end. It must not block. Defaults to nothing but a line in the log.
	OnDropped func(Dropped)
}

// Dropped says that messages were dropped because they came faster than they
// were handled.
type Dropped struct {
	Subject string
	Queue   string
	// Total is how many this subscription has dropped so far.
	Total int
}

func (s CoreSubscription) withDefaults() (CoreSubscription, error) {
	switch {
	case !validSubject(s.Subject, true):
		return s, fmt.Errorf("%w: CoreSubscription.Subject is no subject: %q", brokers.ErrInvalid, s.Subject)
	case strings.ContainsAny(s.Queue, " \t\r\n"):
		return s, fmt.Errorf("%w: CoreSubscription.Queue has blanks: %q", brokers.ErrInvalid, s.Queue)
	case s.MaxPending < 0:
		return s, fmt.Errorf("%w: CoreSubscription.MaxPending is %d", brokers.ErrInvalid, s.MaxPending)
	case s.MaxPendingBytes < 0:
		return s, fmt.Errorf("%w: CoreSubscription.MaxPendingBytes is %d", brokers.ErrInvalid, s.MaxPendingBytes)
	case s.Handle == nil:
		return s, fmt.Errorf("%w: CoreSubscription.Handle is nil", brokers.ErrInvalid)
	}
	if s.MaxPending == 0 {
		s.MaxPending = 1 << 16
	}
	if s.MaxPendingBytes == 0 {
		s.MaxPendingBytes = 64 << 20
	}
	return s, nil
}

// Listener is a core subscription at work.
type Listener struct {
	b     *Broker
	cfg   CoreSubscription
	sub   *nats.Subscription
	ended chan struct{}
	m     brokers.Message // in Handle

	mu   sync.Mutex
	told int // of Dropped.Total
}

// Subscribe listens until the Listener is closed, over lost connections too; what
// is published while there is none is not heard. When it returns the server knows
// of it.
func (c Core) Subscribe(ctx context.Context, cfg CoreSubscription) (*Listener, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Listener{b: c.b, cfg: cfg, ended: make(chan struct{})}
	l.sub, err = c.b.listen(ctx, cfg.Subject, cfg.Queue, l.receive, func() { l.tell(); close(l.ended) })
	if err != nil {
		return nil, err
	}
	c.b.slow.Store(l.sub, l.tell)
	if err := l.sub.SetPendingLimits(cfg.MaxPending, cfg.MaxPendingBytes); err != nil {
		return nil, errors.Join(c.b.sent(err), l.sub.Unsubscribe())
	}
	return l, nil
}

func (l *Listener) receive(msg *nats.Msg) {
	defer func() {
		if v := recover(); v != nil {
			l.b.cfg.Logger.Error("nats: handler panicked", zap.String("subject", msg.Subject), zap.Any("panic", v), zap.Stack("stack"))
		}
	}()
	l.m = decodeCore(msg)
	l.cfg.Handle(&l.m)
}

// tell reports what was dropped since it was last told.
func (l *Listener) tell() {
	l.mu.Lock()
	total, err := l.sub.Dropped()
	if err != nil || total <= l.told {
		l.mu.Unlock()
		return
	}
	l.told = total
	l.mu.Unlock()
	d := Dropped{Subject: l.cfg.Subject, Queue: l.cfg.Queue, Total: total}
	l.b.cfg.Logger.Warn("nats: messages dropped, as they came faster than they were handled",
		zap.String("subject", d.Subject), zap.String("queue", d.Queue), zap.Int("total", d.Total))
	if l.cfg.OnDropped != nil {
		l.cfg.OnDropped(d)
	}
}

// Close tells the server to send no more, and waits until what has come is
// handled, or ctx ends; then the rest is dropped, and ctx's cause returned. A
// second Close waits likewise.
func (l *Listener) Close(ctx context.Context) error {
	defer l.b.slow.Delete(l.sub)
	l.tell() // the client forgets the count with the subscription
	return drain(ctx, l.sub, l.ended)
}

// drain ends a subscription once what has come is handled; ended is closed then.
func drain(ctx context.Context, sub *nats.Subscription, ended <-chan struct{}) error {
	if sub.IsValid() {
		_ = sub.Drain() // if it is being drained already, or has ended, that is waited for
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		_ = sub.Unsubscribe() // it may have ended just now
		return context.Cause(ctx)
	}
}

// listen subscribes, with a call when the last message was handled, and waits
// until the server knows.
func (b *Broker) listen(ctx context.Context, subject, queue string, receive nats.MsgHandler, ended func()) (*nats.Subscription, error) {
	if b.open.Closed() {
		return nil, brokers.ErrClosed
	}
	sub, err := b.nc.QueueSubscribe(subject, queue, receive)
	if err != nil {
		return nil, b.sent(err)
	}
	sub.SetClosedHandler(func(string) { ended() })
	ctx, cancel := b.request(ctx)
	defer cancel()
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return nil, errors.Join(b.sent(err), sub.Unsubscribe())
	}
	return sub, nil
}

// sent says in this package's terms why the client did not send.
func (b *Broker) sent(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", brokers.ErrTooLarge, err)
	case errors.Is(err, nats.ErrConnectionClosed):
		return brokers.ErrClosed
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("nats: no connection: %w", err)
	}
	return err
}

// put publishes m to a subject, with a time in a header unless that is 0: what is
// nothing but a payload goes without headers.
func (b *Broker) put(m *brokers.Message, subject, replyTo string, timeout time.Duration) error {
	if bare(m) && timeout == 0 {
		return b.nc.PublishRequest(subject, replyTo, m.Payload) // replyTo may be empty: no subject is checked
	}
	return b.withEncoded(m, func(msg *nats.Msg) error {
		msg.Subject, msg.Reply = subject, replyTo
		if timeout > 0 {
			msg.Header[timeoutHeader] = []string{timeout.String()}
		}
		return b.nc.PublishMsg(msg)
	})
}

// withEncoded calls f with m as the client has it.
func (b *Broker) withEncoded(m *brokers.Message, f func(*nats.Msg) error) error {
	e, _ := b.encoders.Get().(*encoder)
	if e == nil {
		e = newEncoder()
	}
	defer b.encoders.Put(e)
	msg, err := e.encode(m)
	if err != nil {
		return err
	}
	msg.Reply = ""
	return f(msg)
}

// bare says whether m is nothing but its payload, which needs no headers.
func bare(m *brokers.Message) bool {
	return m.ID == "" && m.Key == nil && m.Payload != nil && len(m.Headers) == 0 && m.Time.IsZero() &&
		m.CorrelationID == "" && m.ReplyTo == "" && m.ContentType == "" && m.RoutingKey == "" && m.TTL == 0 && m.Priority == 0
}

// decodeCore is decode for what no stream holds. It has no position.
func decodeCore(msg *nats.Msg) brokers.Message {
	m := brokers.Message{Topic: msg.Subject, Payload: msg.Data, Time: time.Now()}
	if m.Payload == nil {
		m.Payload = []byte{}
	}
	if len(msg.Header) > 0 {
		decodeHeader(msg, &m)
	}
	if m.ReplyTo == "" {
		m.ReplyTo = msg.Reply
	}
	return m
}

// validSubject says whether the server takes a subject: tokens with dots between
// them, of which * and a last > are wildcards.
func validSubject(subject string, wildcards bool) bool {
	token := 0 // where it begins
	for i := range len(subject) {
		switch c := subject[i]; c {
		case ' ', '\t', '\r', '\n':
			return false
		case '.':
			if i == token {
				return false
			}
			token = i + 1
		case '*', '>':
			last := i+1 == len(subject)
			alone := i == token && (last || subject[i+1] == '.')
			if alone && (!wildcards || c == '>' && !last) {
				return false
			}
		}
	}
	return token < len(subject)
}

package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/responding"
)

// Headers of requests and replies.
const (
	// timeoutHeader is what is left of a request's time, as Go writes durations. The
	// reply subject says it too, and costs nothing; but a server that takes requests
	// into another account puts one of its own in its place. So what is longer than
	// responders assume has the header as well.
	timeoutHeader   = "troupe-timeout"
	errorCodeHeader = "troupe-error-code" // of a ReplyError
	errorHeader     = "troupe-error"      // its message
)

// errUnanswered says that the connection was lost between request and reply.
var errUnanswered = fmt.Errorf("nats: whether the request was handled is not known: %w", errCut)

// errNoDeadline is the cause of a request that waited for the default time.
var errNoDeadline = fmt.Errorf("nats: no reply in %v: %w", brokers.DefaultRequestTimeout, context.DeadlineExceeded)

var _ brokers.Requests = (*Broker)(nil)

// requestSubject is where requests to a topic go, apart from the topic's stream.
func requestSubject(topic string) string { return "troupe.requests." + root(topic) }

// Request implements [brokers.Requests], on core NATS. The client drops replies
// that come too late.
func (b *Broker) Request(ctx context.Context, m brokers.Message) (brokers.Message, error) {
	if m.Topic == "" {
		return brokers.Message{}, fmt.Errorf("%w: Message.Topic is empty", brokers.ErrInvalid)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, brokers.DefaultRequestTimeout, errNoDeadline)
		defer cancel()
		deadline, _ = ctx.Deadline()
	}
	m.ReplyTo = ""
	if ctx.Err() != nil {
		return brokers.Message{}, context.Cause(ctx)
	}
	left, explicit := time.Until(deadline), time.Duration(0)
	if left > brokers.DefaultRequestTimeout {
		explicit = left
	}
	reply, err := b.replies.ask(ctx, left, func(replyTo string) error {
		return b.put(&m, requestSubject(m.Topic), replyTo, explicit)
	})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return brokers.Message{}, fmt.Errorf("%w: topic %q", brokers.ErrNoResponders, m.Topic)
	case err != nil:
		return brokers.Message{}, b.sent(err)
	}
	return readReply(&m, reply)
}

// readReply takes the error out of a reply.
func readReply(request *brokers.Message, reply *nats.Msg) (brokers.Message, error) {
	if code := reply.Header.Get(errorCodeHeader); code != "" {
		return brokers.Message{}, &brokers.ReplyError{Code: code, Message: reply.Header.Get(errorHeader)}
	}
	m := decodeCore(reply)
	m.Topic = request.Topic
	if m.CorrelationID == "" {
		m.CorrelationID = request.CorrelationID
	}
	return m, nil
}

// responder answers the requests to one topic.
type responder struct {
	b    *Broker
	pool *responding.Pool[*nats.Msg]
	sub  *nats.Subscription
}

// Respond implements [brokers.Requests], with a queue group of core NATS.
func (b *Broker) Respond(ctx context.Context, cfg brokers.RespondConfig, answer brokers.AnswerFunc) (brokers.Responder, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	log := b.cfg.Logger.With(zap.String("topic", cfg.Topic))
	r := &responder{b: b, pool: responding.Start(b.life, responding.Config[*nats.Msg]{
		RespondConfig: cfg, Open: openRequest, Reply: b.reply,
		Refuse: func(msg *nats.Msg, e *brokers.ReplyError) { b.refuse(log, msg, e) },
		Panicked: func(v any) {
			log.Error("nats: handler of a request panicked", zap.Any("panic", v), zap.Stack("stack"))
		},
	}, answer)}
	r.sub, err = b.listen(ctx, requestSubject(cfg.Topic), token(cfg.Group), r.receive, r.pool.End)
	if err != nil {
		r.pool.End()
		return nil, err
	}
	return r, nil
}

func (r *responder) receive(msg *nats.Msg) {
	if msg.Reply != "" { // else nobody waits: it was published, not asked
		r.pool.Take(msg)
	}
}

func openRequest(msg *nats.Msg) (brokers.Message, time.Duration) {
	left := timeOf(msg.Reply)
	if text := msg.Header.Get(timeoutHeader); text != "" {
		if said, err := time.ParseDuration(text); err == nil {
			left = said
		}
	}
	return decodeCore(msg), left
}

func (b *Broker) reply(msg *nats.Msg, out *brokers.Message) error {
	return b.sent(b.put(out, msg.Reply, "", 0))
}

func (b *Broker) refuse(log *zap.Logger, msg *nats.Msg, e *brokers.ReplyError) {
	reply := nats.NewMsg(msg.Reply)
	reply.Header.Set(errorCodeHeader, e.Code)
	reply.Header.Set(errorHeader, oneLine(e.Message))
	if err := b.nc.PublishMsg(reply); err != nil {
		log.Warn("nats: a request could not be answered", zap.Error(err))
	}
}

// Close implements [brokers.Responder].
func (r *responder) Close(ctx context.Context) error {
	err := drain(ctx, r.sub, r.pool.Done())
	r.pool.Cancel()
	return err
}

// oneLine is text as a header carries it, of a length that fits.
func oneLine(text string) string {
	const most = 8 << 10
	b := []byte(text[:min(len(text), most)])
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

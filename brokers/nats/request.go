package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// Headers of requests and replies.
const (
	timeoutHeader   = "troupe-timeout"    // what is left of a request's time, as Go writes durations
	errorCodeHeader = "troupe-error-code" // of a ReplyError
	errorHeader     = "troupe-error"      // its message
)

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
	var reply *nats.Msg
	asking, cancel := b.link.while(ctx, time.Until(deadline))
	defer cancel()
	err := b.withEncoded(&m, func(msg *nats.Msg) (err error) {
		msg.Subject = requestSubject(m.Topic)
		msg.Header[timeoutHeader] = []string{time.Until(deadline).String()}
		reply, err = b.nc.RequestMsgWithContext(asking, msg)
		return err
	})
	if err != nil {
		return brokers.Message{}, b.requestError(ctx, m.Topic, err)
	}
	return readReply(&m, reply)
}

// requestError says why there is no reply.
func (b *Broker) requestError(ctx context.Context, topic string, err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: topic %q", brokers.ErrNoResponders, topic)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		if b.link.isCut() {
			return fmt.Errorf("nats: whether the request was handled is not known: %w", errCut)
		}
	}
	return b.sent(err)
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
	b       *Broker
	cfg     brokers.RespondConfig
	answer  brokers.AnswerFunc
	sub     *nats.Subscription
	queue   chan *nats.Msg // closed when no more come
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
	done    chan struct{} // closed when all are answered
}

// Respond implements [brokers.Requests], with a queue group of core NATS.
func (b *Broker) Respond(ctx context.Context, cfg brokers.RespondConfig, answer brokers.AnswerFunc) (brokers.Responder, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	r := &responder{b: b, cfg: cfg, answer: answer, queue: make(chan *nats.Msg, cfg.MaxPending), done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(b.life)
	r.sub, err = b.listen(ctx, requestSubject(cfg.Topic), token(cfg.Group), r.receive, func() { close(r.queue) })
	if err != nil {
		r.cancel()
		return nil, err
	}
	for range cfg.Concurrency {
		r.workers.Go(r.work)
	}
	go func() {
		r.workers.Wait()
		r.cancel()
		close(r.done)
	}()
	return r, nil
}

// receive queues a request, or refuses it at once.
func (r *responder) receive(msg *nats.Msg) {
	if msg.Reply == "" {
		return // nobody waits: it was published, not asked
	}
	select {
	case r.queue <- msg:
	default:
		r.reply(msg, nil, &brokers.ReplyError{Code: brokers.CodeOverloaded, Message: fmt.Sprintf("%d requests wait", r.cfg.MaxPending)})
	}
}

func (r *responder) work() {
	for msg := range r.queue {
		r.handle(msg, time.Now())
	}
}

func (r *responder) handle(msg *nats.Msg, now time.Time) {
	if r.ctx.Err() != nil {
		r.reply(msg, nil, &brokers.ReplyError{Code: brokers.CodeOverloaded, Message: "the responder is closing"})
		return
	}
	timeout, err := time.ParseDuration(msg.Header.Get(timeoutHeader))
	if err != nil || timeout <= 0 {
		timeout = brokers.DefaultRequestTimeout // of another client
	}
	ctx, cancel := context.WithDeadline(r.ctx, now.Add(timeout))
	defer cancel()
	m := decodeCore(msg)
	m.Topic = r.cfg.Topic
	out, err := r.call(ctx, &m)
	if out.CorrelationID == "" {
		out.CorrelationID = m.CorrelationID
	}
	r.reply(msg, &out, err)
}

// call is where a handler's panic ends.
func (r *responder) call(ctx context.Context, m *brokers.Message) (out brokers.Message, err error) {
	defer func() {
		if v := recover(); v != nil {
			r.b.cfg.Logger.Error("nats: handler of a request panicked",
				zap.String("topic", r.cfg.Topic), zap.Any("panic", v), zap.Stack("stack"))
			err = &brokers.ReplyError{Code: brokers.CodeInternal, Message: "the handler panicked"}
		}
	}()
	return r.answer(ctx, m)
}

// reply sends what came of a request. A reply that cannot be sent is an error of
// its own to who asked.
func (r *responder) reply(msg *nats.Msg, out *brokers.Message, failed error) {
	if failed == nil {
		out.ReplyTo = ""
		failed = r.b.withEncoded(out, func(reply *nats.Msg) error {
			reply.Subject = msg.Reply
			return r.b.sent(r.b.nc.PublishMsg(reply))
		})
	}
	if failed == nil {
		return
	}
	e := brokers.ReplyErrorOf(failed)
	reply := nats.NewMsg(msg.Reply)
	reply.Header.Set(errorCodeHeader, e.Code)
	reply.Header.Set(errorHeader, oneLine(e.Message))
	if e.Code == "" {
		reply.Header.Set(errorCodeHeader, brokers.CodeInternal)
	}
	if err := r.b.nc.PublishMsg(reply); err != nil {
		r.b.cfg.Logger.Warn("nats: a request could not be answered", zap.String("topic", r.cfg.Topic), zap.Error(err))
	}
}

// Close implements [brokers.Responder].
func (r *responder) Close(ctx context.Context) error {
	err := drain(ctx, r.sub, r.done)
	r.cancel()
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

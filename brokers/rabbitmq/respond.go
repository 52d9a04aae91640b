package rabbitmq

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/responding"
)

// requestQueue is a group's. The length keeps names apart that run into each
// other.
func requestQueue(cfg brokers.RespondConfig) string {
	return requestExchange + "." + strconv.Itoa(len(cfg.Topic)) + "." + cfg.Topic + "." + cfg.Group
}

// orphanedQueue is how long a queue of requests outlives a restart of the server
// when its responders do not come back: until then nobody is told at once that
// there are none.
const orphanedQueue = time.Minute

// responder answers the requests to one topic.
type responder struct {
	b    *Broker
	cfg  brokers.RespondConfig
	log  *zap.Logger
	pool *responding.Pool[*amqp.Delivery]
	tag  string
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu  sync.Mutex
	err error // why nothing comes
}

// intake is a channel that takes requests.
type intake struct {
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery // closed when no more come
}

// Respond implements [brokers.Requests]. A group is a queue that goes with its
// last responder; requests are taken without acknowledgement.
func (b *Broker) Respond(ctx context.Context, cfg brokers.RespondConfig, answer brokers.AnswerFunc) (brokers.Responder, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	if queue := requestQueue(cfg); len(queue) > maxName {
		return nil, tooLong("RespondConfig.Topic and Group: the queue's name", queue)
	}
	r := &responder{b: b, cfg: cfg, log: b.cfg.Logger.With(zap.String("topic", cfg.Topic)), tag: b.cfg.Name}
	r.ctx, r.stop = context.WithCancel(b.control.ctx)
	in, err := r.open(ctx)
	if err != nil {
		r.stop()
		return nil, err
	}
	r.pool = responding.Start(b.control.ctx, responding.Config[*amqp.Delivery]{
		RespondConfig: cfg, Open: openRequest, Reply: r.reply, Refuse: r.refuse,
		Panicked: func(v any) {
			r.log.Error("rabbitmq: handler of a request panicked", zap.Any("panic", v), zap.Stack("stack"))
		},
	}, answer)
	b.responders.Store(r, nil)
	b.control.running.Go(func() { r.run(in) })
	return r, nil
}

// run takes requests until the responder is closed, over lost connections too.
func (r *responder) run(in *intake) {
	defer r.b.responders.Delete(r)
	defer r.pool.End()
	for in != nil {
		r.take(in)
		if r.ctx.Err() != nil {
			return
		}
		in, _ = r.open(r.ctx) // an error is the end of r.ctx
	}
}

// take takes what comes on a channel until it ends. When the responder is to be
// closed the server is told, and what it had delivered by then is taken.
func (r *responder) take(in *intake) {
	closing := r.ctx.Done()
	for {
		select {
		case d, ok := <-in.deliveries:
			if !ok {
				r.b.control.running.Go(func() { _ = in.ch.Close() }) // it may be closed
				return
			}
			if d.ReplyTo != "" { // else nobody waits: it was published, not asked
				r.pool.Take(&d)
			}
		case <-closing:
			closing = nil
			r.b.control.running.Go(func() { _ = in.ch.Cancel(r.tag, false) }) // else it ends with the connection
		}
	}
}

// open consumes from the group's queue. It tries again while the server does not
// answer, or the last member takes the queue along; a responder that was at work
// does so whatever the server says.
func (r *responder) open(ctx context.Context) (*intake, error) {
	for failures := 0; ; failures++ {
		in, err := r.tryOpen(ctx)
		r.note(err)
		if err == nil {
			return in, nil
		}
		if r.pool == nil && !unanswered(err) && !hasCode(err, amqp.NotFound) {
			return nil, err
		}
		if !r.b.control.pause(ctx, failures) {
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		if r.b.control.ctx.Err() != nil {
			return nil, brokers.ErrClosed
		}
	}
}

func (r *responder) tryOpen(ctx context.Context) (*intake, error) {
	conn, err := r.b.control.wait(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.b.cfg.RequestTimeout)
	defer cancel()
	queue := QueueConfig{Name: requestQueue(r.cfg), Kind: QueueClassic, AutoDelete: true, Expiry: orphanedQueue}
	in := &intake{}
	in.ch, err = r.b.control.channel(ctx, conn, func(ch *amqp.Channel) (err error) {
		if err := declareRequests(ch); err != nil {
			return err
		}
		if err := queue.declaration(r.b.server).declare(ch); err != nil {
			return err
		}
		if err := ch.QueueBind(queue.Name, r.cfg.Topic, requestExchange, false, nil); err != nil {
			return err
		}
		in.deliveries, err = ch.Consume(queue.Name, r.tag, true, false, false, false, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: queue %q: %w", queue.Name, err)
	}
	return in, nil
}

func (r *responder) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// fault is why nothing is answered now.
func (r *responder) fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func openRequest(d *amqp.Delivery) (brokers.Message, time.Duration) {
	m := FromDelivery(d)
	m.RoutingKey, m.TTL, m.Offset, m.DeliveryCount = "", 0, 0, 0
	if text, is := d.Headers[timeoutHeader].(string); is {
		m.CorrelationID, _ = d.Headers[correlationHeader].(string)
		if left, err := time.ParseDuration(text); err == nil {
			return m, left
		}
	}
	return m, 0
}

func (r *responder) reply(d *amqp.Delivery, m *brokers.Message) error {
	plain := *m
	plain.CorrelationID = ""
	out, err := encode(&plain)
	if err == nil {
		err = r.b.server.checkSize(m)
	}
	if err != nil {
		return err
	}
	if m.CorrelationID != "" {
		out.Headers[correlationHeader] = m.CorrelationID
	}
	return r.send(d, out)
}

func (r *responder) refuse(d *amqp.Delivery, e *brokers.ReplyError) {
	const most = 8 << 10
	err := r.send(d, amqp.Publishing{Headers: amqp.Table{
		errorCodeHeader: e.Code, errorHeader: e.Message[:min(len(e.Message), most)],
	}})
	if err != nil {
		r.log.Warn("rabbitmq: a request could not be answered", zap.Error(err))
	}
}

// send publishes a reply as soon as the server takes messages. One that waited for
// long is nobody's any more.
func (r *responder) send(d *amqp.Delivery, out amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(r.b.publish.ctx, r.b.cfg.RequestTimeout)
	defer cancel()
	box, err := r.b.mail.get(ctx)
	if err != nil {
		return err
	}
	out.DeliveryMode, out.CorrelationId = amqp.Transient, d.CorrelationId
	return box.put(ctx, "", d.ReplyTo, false, out)
}

// Close implements [brokers.Responder].
func (r *responder) Close(ctx context.Context) error {
	r.stop()
	defer r.pool.Cancel()
	select {
	case <-r.pool.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

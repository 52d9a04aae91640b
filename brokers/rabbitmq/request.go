package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// Headers of requests and replies, beside those of messages.
const (
	correlationHeader = "troupe-correlation-id" // the user's, as the property matches replies to requests
	timeoutHeader     = "troupe-timeout"        // what is left of a request's time, as Go writes durations
	errorCodeHeader   = "troupe-error-code"     // of a ReplyError
	errorHeader       = "troupe-error"          // its message
)

const (
	// requestExchange is where requests go. Each group of responders has a queue
	// there, bound by the topic.
	requestExchange = "troupe.requests"
	// directReply stands for this client's channel in a request, and the server
	// replaces it.
	directReply = "amq.rabbitmq.reply-to"
)

// errNoDeadline is the cause of a request that waited for the default time.
var errNoDeadline = fmt.Errorf("rabbitmq: no reply in %v: %w", brokers.DefaultRequestTimeout, context.DeadlineExceeded)

var _ brokers.Requests = (*Broker)(nil)

// Request implements [brokers.Requests], with the server's direct reply-to. While
// the connection is lost or blocked it waits for it.
func (b *Broker) Request(ctx context.Context, m brokers.Message) (brokers.Message, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, brokers.DefaultRequestTimeout, errNoDeadline)
		defer cancel()
		deadline, _ = ctx.Deadline()
	}
	if m.Topic == "" || len(m.Topic) > maxName {
		return brokers.Message{}, fmt.Errorf("%w: Message.Topic is empty, or longer than %d bytes: %.40q", brokers.ErrInvalid, maxName, m.Topic)
	}
	out, err := b.encodeRequest(&m)
	if err != nil {
		return brokers.Message{}, err
	}
	box, err := b.mail.get(ctx)
	if err != nil {
		return brokers.Message{}, err
	}
	left := time.Until(deadline)
	if left <= 0 {
		<-ctx.Done() // in a moment
		return brokers.Message{}, context.Cause(ctx)
	}
	out.Headers[timeoutHeader] = left.String()
	out.Expiration = strconv.FormatInt(milliseconds(left), 10)
	d, err := box.ask(ctx, m.Topic, out)
	if err != nil {
		return brokers.Message{}, err
	}
	return readReply(&m, d)
}

// encodeRequest is a request on the wire, but for its time.
func (b *Broker) encodeRequest(m *brokers.Message) (amqp.Publishing, error) {
	plain := *m
	plain.ReplyTo, plain.CorrelationID, plain.TTL = "", "", 0
	out, err := encode(&plain)
	if err == nil && len(m.CorrelationID) > maxName {
		err = tooLong("Message.CorrelationID", m.CorrelationID)
	}
	if err == nil {
		err = b.server.checkSize(m)
	}
	if err != nil {
		return out, err
	}
	out.DeliveryMode, out.ReplyTo = amqp.Transient, directReply
	if m.CorrelationID != "" {
		out.Headers[correlationHeader] = m.CorrelationID
	}
	return out, nil
}

// readReply takes the error out of a reply.
func readReply(request *brokers.Message, d *amqp.Delivery) (brokers.Message, error) {
	if code, _ := d.Headers[errorCodeHeader].(string); code != "" {
		text, _ := d.Headers[errorHeader].(string)
		return brokers.Message{}, &brokers.ReplyError{Code: code, Message: text}
	}
	m := FromDelivery(d)
	m.Topic, m.RoutingKey, m.ReplyTo, m.Offset, m.DeliveryCount = request.Topic, "", "", 0, 0
	m.CorrelationID = request.CorrelationID
	if own, _ := d.Headers[correlationHeader].(string); own != "" {
		m.CorrelationID = own
	}
	return m, nil
}

// clear waits until the server takes messages on a connection.
func (l *link) clear(ctx context.Context) (*connection, error) {
	for {
		l.mu.Lock()
		conn, blocked, err, changed := l.conn, l.blocked, l.err, l.changed
		l.mu.Unlock()
		switch {
		case l.ctx.Err() != nil:
			return nil, brokers.ErrClosed
		case conn != nil && blocked == "":
			return conn, nil
		case conn != nil:
			err = fmt.Errorf("%w: %s", ErrBlocked, blocked)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-l.ctx.Done():
		}
	}
}

// errReplyLost is the error of a request whose channel has ended.
var errReplyLost = errors.New("rabbitmq: whether the request was handled is not known")

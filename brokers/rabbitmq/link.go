package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/backoff"
)

// errCut is why a connection is down while nothing else is known.
var errCut = errors.New("rabbitmq: connection lost")

// connection is one of a link's, from login to loss.
type connection struct {
	*amqp.Connection

	line *coalesced
}

// link is a connection that is made again, for ever, when it is lost. Each time
// it is a new one: the client's own recovery would let a late acknowledgement
// settle another message.
type link struct {
	cfg     *Config
	purpose string
	prepare func(context.Context) error // done before each connection but the first is used
	ctx     context.Context             // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	conn    *connection // nil while it is down
	err     error       // why it is down
	since   time.Time   // when that last changed
	blocked string      // why the server takes no messages; "" if it does
	changed chan struct{}
}

func newLink(cfg *Config, purpose string) *link {
	l := &link{cfg: cfg, purpose: purpose, since: time.Now(), err: errCut, changed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// open makes the first connection; an error is an [*brokers.OpenError].
func (l *link) open(ctx context.Context) error {
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	lost, blocked := l.up(conn)
	l.running.Go(func() { l.run(conn, lost, blocked) })
	return nil
}

// run keeps the link up.
func (l *link) run(conn *connection, lost <-chan *amqp.Error, blocked <-chan amqp.Blocking) {
	for {
		l.watch(lost, blocked)
		conn.shut()
		if conn = l.redial(); conn == nil {
			return
		}
		lost, blocked = l.up(conn)
	}
}

// watch returns when the connection is lost, or to be closed.
func (l *link) watch(lost <-chan *amqp.Error, blocked <-chan amqp.Blocking) {
	for {
		select {
		case b, ok := <-blocked:
			if !ok {
				blocked = nil
				continue
			}
			l.block(b)
		case err := <-lost:
			l.down(closeError(err))
			return
		case <-l.ctx.Done():
			l.down(brokers.ErrClosed)
			return
		}
	}
}

// closeError is why a connection or channel was closed.
func closeError(err *amqp.Error) error {
	if err == nil {
		return errCut
	}
	return fmt.Errorf("%w: %w", errCut, err)
}

// redial returns a new connection, or nil when the link is closed.
func (l *link) redial() *connection {
	for failures := 0; l.pause(l.ctx, failures); failures++ {
		conn, err := l.dial(l.ctx)
		if err == nil {
			if err = l.prepare(l.ctx); err == nil {
				return conn
			}
			conn.shut()
		}
		l.down(err)
	}
	return nil
}

// pause waits after that many failures before the last, or until ctx ends: then
// it is false.
func (l *link) pause(ctx context.Context, failures int) bool {
	timer := time.NewTimer(backoff.Jittered(l.cfg.RetryMin, l.cfg.RetryMax, failures))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// up makes a connection the link's, and returns what tells of its loss and of
// alarms.
func (l *link) up(conn *connection) (lost <-chan *amqp.Error, blocked <-chan amqp.Blocking) {
	lost = conn.NotifyClose(make(chan *amqp.Error, 1))
	blocked = conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.err, l.since, l.blocked = conn, nil, time.Now(), ""
	l.tell()
	return lost, blocked
}

func (l *link) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.since = time.Now()
	}
	l.conn, l.err, l.blocked = nil, err, ""
	l.tell()
}

func (l *link) block(b amqp.Blocking) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = ""
	if b.Active {
		l.blocked = "blocked by the server"
		if b.Reason != "" {
			l.blocked = b.Reason
		}
	}
	l.tell()
}

// tell needs l.mu.
func (l *link) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// state returns the connection, or why there is none, and since when.
func (l *link) state() (conn *connection, since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn, l.since, l.err
}

// blockage is why the server takes no messages now; nil if it does.
func (l *link) blockage() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocked == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrBlocked, l.blocked)
}

// wait returns the connection as soon as there is one.
func (l *link) wait(ctx context.Context) (*connection, error) {
	for {
		l.mu.Lock()
		conn, err, changed := l.conn, l.err, l.changed
		l.mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-l.ctx.Done():
			return nil, brokers.ErrClosed
		}
	}
}

// close ends the link.
func (l *link) close() {
	l.cancel()
	l.running.Wait()
}

// shut says goodbye, if the server hears it soon.
func (c *connection) shut() {
	const patience = time.Second
	stop := time.AfterFunc(patience, func() { _ = c.line.Close() })
	_ = c.CloseDeadline(time.Now().Add(patience)) // it fails if the connection was lost
	stop.Stop()
	_ = c.line.Close()
}

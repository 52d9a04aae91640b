package kafka

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

var (
	// errConnection is what all errors of a connection wrap: the node could not
	// be reached, or did not answer. They may pass.
	errConnection = errors.New("kafka: connection lost")
	errNoAnswer   = errors.New("no answer in time")
	errStrange    = errors.New("an answer to nothing that was asked")
	errExpectsTLS = errors.New("the server answers with TLS")
)

// maxAnswer bounds what is read of one answer, against what is no Kafka.
const maxAnswer = 256 << 20

// conn is a connection to one node. Requests may be sent before earlier ones are
// answered: the node handles them one at a time, and answers in order. Its
// methods may be called concurrently.
type conn struct {
	net      net.Conn
	address  string
	clientID string
	versions map[protocol.ApiKey]int16 // the latest that both sides know

	writing sync.Mutex // orders pending as what is on the wire

	mu      sync.Mutex
	pending []pending
	lastID  int32
	err     error // why the connection is of no use any more

	done chan struct{} // closed when the reader has ended
}

// pending is a request that was not answered yet.
type pending struct {
	id       int32
	patience time.Duration
	answered func(frame []byte, err error)
}

// newConn returns a connection whose reader runs until close.
func newConn(nc net.Conn, address, clientID string) *conn {
	c := &conn{net: nc, address: address, clientID: clientID, done: make(chan struct{})}
	go c.read()
	return c
}

// close ends the connection and waits for its reader. What is pending is
// answered with an error.
func (c *conn) close() {
	c.fail(net.ErrClosed)
	<-c.done
}

// fail ends the connection because of err.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s: %w", errConnection, c.address, err)
	}
	c.mu.Unlock()
	_ = c.net.Close() // what it says is of no more interest
}

// failed says why the connection is of no use, nil while it is.
func (c *conn) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// send puts a request on the wire: the frame that [protocol.WriteRequest] writes,
// in which it sets the correlation id. answered is called once, with a frame
// that is the callee's to keep, by the reader, which it must not block; or in
// send itself if the connection is broken already.
func (c *conn) send(frame []byte, patience time.Duration, answered func(frame []byte, err error)) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	if err := c.err; err != nil {
		c.mu.Unlock()
		answered(nil, err)
		return
	}
	c.lastID++
	c.pending = append(c.pending, pending{id: c.lastID, patience: patience, answered: answered})
	binary.BigEndian.PutUint32(frame[correlationAt:], uint32(c.lastID))
	if len(c.pending) == 1 {
		_ = c.net.SetReadDeadline(time.Now().Add(patience)) // fails if closed, which the reader sees
	}
	c.mu.Unlock()
	c.write(frame, patience)
}

// sendOnly puts a request on the wire that is not answered.
func (c *conn) sendOnly(frame []byte, patience time.Duration) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.write(frame, patience)
	return c.failed()
}

func (c *conn) write(frame []byte, patience time.Duration) {
	_ = c.net.SetWriteDeadline(time.Now().Add(patience)) // as above
	if _, err := c.net.Write(frame); err != nil {
		c.fail(err)
	}
}

// correlationAt is where a request has its correlation id: behind size, key and
// version.
const correlationAt = 8

// read hands out answers until the connection ends.
func (c *conn) read() {
	defer close(c.done)
	r := bufio.NewReaderSize(c.net, 64<<10)
	for {
		frame, err := readFrame(r)
		if err != nil {
			c.fail(readError(err))
			break
		}
		p, err := c.take(int32(binary.BigEndian.Uint32(frame[4:])))
		if err != nil {
			c.fail(err)
			break
		}
		p.answered(frame, nil)
	}
	c.mu.Lock()
	left, err := c.pending, c.err
	c.pending = nil
	c.mu.Unlock()
	for _, p := range left {
		p.answered(nil, err)
	}
}

func readError(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errNoAnswer
	}
	return err
}

// take returns the request that id answers, which is the oldest.
func (c *conn) take(id int32) (pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 || c.pending[0].id != id {
		return pending{}, errStrange
	}
	p := c.pending[0]
	c.pending[0] = pending{}
	c.pending = c.pending[1:]
	var deadline time.Time // none while nothing is asked
	if len(c.pending) > 0 {
		deadline = time.Now().Add(c.pending[0].patience)
	}
	_ = c.net.SetReadDeadline(deadline) // as in send
	return p, nil
}

// readFrame reads an answer with its size in front.
func readFrame(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if head[0] == 0x15 && head[1] == 3 { // an alert of TLS
		return nil, errExpectsTLS
	}
	if size < 4 || size > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes, which is no Kafka", size)
	}
	frame := make([]byte, 4+size)
	_, err = io.ReadFull(r, frame)
	return frame, err
}

// exchange sends a request and waits for its answer. If ctx ends first the
// connection is closed, as nobody could tell what it is busy with.
func (c *conn) exchange(ctx context.Context, frame []byte, patience time.Duration) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	type answer struct {
		frame []byte
		err   error
	}
	answers := make(chan answer, 1)
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	c.send(frame, patience, func(frame []byte, err error) { answers <- answer{frame, err} })
	a := <-answers
	if a.err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return a.frame, a.err
}

// roundTrip sends a message and returns the answer to it.
func (c *conn) roundTrip(ctx context.Context, msg protocol.Message, patience time.Duration) (protocol.Message, error) {
	version, err := c.version(msg.ApiKey())
	if err != nil {
		return nil, err
	}
	if p, ok := msg.(protocol.PreparedMessage); ok {
		p.Prepare(version)
	}
	var request bytes.Buffer
	if err := protocol.WriteRequest(&request, version, 0, c.clientID, msg); err != nil {
		return nil, err
	}
	frame, err := c.exchange(ctx, request.Bytes(), patience)
	if err != nil {
		return nil, err
	}
	_, answer, err := protocol.ReadResponse(bytes.NewReader(frame), msg.ApiKey(), version)
	if err != nil {
		err = fmt.Errorf("kafka: %s answered %s with what cannot be read: %w", c.address, msg.ApiKey(), err)
	}
	return answer, err
}

// version is which version of an API is spoken.
func (c *conn) version(key protocol.ApiKey) (int16, error) {
	if key == protocol.ApiVersions {
		return 0, nil
	}
	version, ok := c.versions[key]
	if !ok {
		return 0, fmt.Errorf("kafka: %s and this driver have no version of %s in common: %w", c.address, key, kafkago.UnsupportedVersion)
	}
	return version, nil
}

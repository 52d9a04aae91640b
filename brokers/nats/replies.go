package nats

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
)

// replies are what the requests of a Broker wait for. They come to an inbox of
// its own; the last token of their subject is the request's number. The client
// has such a thing too, but wants a context for each request that ends with the
// connection.
type replies struct {
	b *Broker

	mu      sync.Mutex
	inbox   string // with a dot at the end
	waiting map[uint64]chan *nats.Msg
	last    uint64
	idle    []chan *nats.Msg // empty, and nobody else has them
}

// listen subscribes to the inbox, once.
func (r *replies) listen() error {
	if r.inbox != "" {
		return nil
	}
	inbox := r.b.nc.NewInbox() + "."
	sub, err := r.b.nc.Subscribe(inbox+"*", r.receive)
	if err != nil {
		return err
	}
	// What is on its way is bounded by the requests.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	r.inbox, r.waiting = inbox, map[uint64]chan *nats.Msg{}
	return nil
}

// open returns where a reply is to go, and where it will be.
func (r *replies) open() (number uint64, subject string, reply chan *nats.Msg, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.listen(); err != nil {
		return 0, "", nil, err
	}
	if n := len(r.idle); n > 0 {
		reply, r.idle = r.idle[n-1], r.idle[:n-1]
	} else {
		reply = make(chan *nats.Msg, 1)
	}
	r.last++
	r.waiting[r.last] = reply
	return r.last, r.inbox + strconv.FormatUint(r.last, 36), reply, nil
}

// receive is called by the client with a reply. One that is too late is dropped.
func (r *replies) receive(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return // not one of ours
	}
	r.mu.Lock()
	reply := r.waiting[number]
	delete(r.waiting, number)
	r.mu.Unlock()
	if reply != nil {
		reply <- m // there is room, and nobody else sends
	}
}

// close ends a request, answered or not.
func (r *replies) close(number uint64, reply chan *nats.Msg, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, open := r.waiting[number]
	delete(r.waiting, number)
	if answered || open { // else a reply is on its way into it
		r.idle = append(r.idle, reply)
	}
}

// ask publishes by send, and waits for the reply until ctx or the connection ends.
func (r *replies) ask(ctx context.Context, send func(replyTo string) error) (*nats.Msg, error) {
	lost := r.b.link.ends()
	number, subject, reply, err := r.open()
	if err != nil {
		return nil, err
	}
	answered := false
	defer func() { r.close(number, reply, answered) }()
	if err := send(subject); err != nil {
		return nil, err
	}
	select {
	case m := <-reply:
		answered = true
		if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			return nil, nats.ErrNoResponders
		}
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-lost:
		return nil, errUnanswered
	case <-r.b.life.Done():
		return nil, brokers.ErrClosed
	}
}

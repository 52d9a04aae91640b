package nats

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
)

// replies are what the requests of a Broker wait for. They come to an inbox of
// its own; the last token of their subject is the request's number, and for how
// long it waits: both in base 36, milliseconds, with a ~ between them. The client
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

// open returns where a reply is to go that is waited for so long, and where it will
// be.
func (r *replies) open(left time.Duration) (number uint64, subject string, reply chan *nats.Msg, err error) {
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
	return r.last, r.subject(r.last, left), reply, nil
}

func (r *replies) subject(number uint64, left time.Duration) string {
	ms := left / time.Millisecond
	if left%time.Millisecond > 0 {
		ms++
	}
	b := append(make([]byte, 0, 64), r.inbox...)
	b = append(strconv.AppendUint(b, number, 36), '~')
	return string(strconv.AppendInt(b, int64(ms), 36))
}

// timeOf is for how long who asks waits at a reply subject; 0 if that does not say.
func timeOf(subject string) time.Duration {
	tilde := strings.LastIndexByte(subject, '~')
	if tilde < 0 {
		return 0
	}
	ms, err := strconv.ParseInt(subject[tilde+1:], 36, 64)
	if err != nil || ms < 0 || ms > int64(math.MaxInt64/time.Millisecond) {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// receive is called by the client with a reply. One that is too late is dropped.
func (r *replies) receive(m *nats.Msg) {
	text, _, _ := strings.Cut(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], "~")
	number, err := strconv.ParseUint(text, 36, 64)
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
func (r *replies) ask(ctx context.Context, left time.Duration, send func(replyTo string) error) (*nats.Msg, error) {
	lost := r.b.link.ends()
	number, subject, reply, err := r.open(left)
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

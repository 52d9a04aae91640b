package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	client "github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// natsUnheard bounds what is published to listeners and not handled: they lose what
// is more than their buffers take.
const natsUnheard = 8192

// coreBench is what the contenders on core NATS share: the client's connection, and
// the driver's.
type coreBench struct {
	server server
	nc     *client.Conn
	own    *nats.Broker
	body   []byte
}

func natsCoreTables(o *options) ([]table, error) {
	return onNATS(func(s server) (made []table, err error) {
		b := &coreBench{server: s, body: make([]byte, natsSize)}
		if b.nc, err = client.Connect(s.url, s.options...); err != nil {
			return nil, err
		}
		defer b.nc.Close()
		if b.own, err = s.open(nats.AcksEach); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.own.Close()) }()
		for _, run := range []func(*options) (table, error){b.publishTable, b.listenTable, b.requestTable} {
			t, err := run(o)
			if err != nil {
				return nil, err
			}
			made = append(made, t)
		}
		return made, nil
	})
}

func (b *coreBench) publishTable(o *options) (table, error) {
	n := o.messages(500_000)
	subject := "peers." + uuid.NewString()
	core := b.own.Core()
	publish := func(one func(i int) error, flush func() error) prepare {
		return func(n int) (run, clean func() error, err error) {
			return func() error {
				for i := range n {
					if err := one(i); err != nil {
						return err
					}
				}
				return flush()
			}, nil, nil
		}
	}
	flush := func() error { return core.Flush(context.Background()) }
	keys := keysNamed(natsKeys)
	const bare, header = "nats.go, Publish", "nats.go, PublishMsg, with two headers"
	return o.compete("Publish, core NATS, "+b.server.name+", 1 KB", []contender{
		{bare, "", n, publish(func(int) error { return b.nc.Publish(subject, b.body) }, b.nc.Flush)},
		{"troupe, a payload", bare, n, publish(func(int) error {
			return core.Publish(&brokers.Message{Topic: subject, Payload: b.body})
		}, flush)},
		{header, "", n, publish(func(i int) error {
			return b.nc.PublishMsg(&client.Msg{
				Subject: subject, Data: b.body, Header: client.Header{"key": {string(keys[i%natsKeys])}, "type": {"OrderPlaced"}},
			})
		}, b.nc.Flush)},
		{"troupe, with a key and a header", header, n, publish(func(i int) error {
			return core.Publish(&brokers.Message{
				Topic: subject, Payload: b.body, Key: keys[i%natsKeys], Headers: brokers.Headers{{Key: "type", Value: []byte("OrderPlaced")}},
			})
		}, flush)},
	})
}

// listenTable has a member of a queue group listen. The client publishes, for both.
func (b *coreBench) listenTable(o *options) (table, error) {
	const base = "nats.go, QueueSubscribe"
	n := o.messages(500_000)
	return o.compete("Subscribe in a queue group, core NATS, "+b.server.name+", 1 KB", []contender{
		{base, "", n, b.listen(func(subject string, handle func()) (stop func() error, err error) {
			s, err := b.nc.QueueSubscribe(subject, "workers", func(*client.Msg) { handle() })
			if err != nil {
				return nil, err
			}
			return s.Unsubscribe, b.nc.Flush()
		})},
		{"troupe", base, n, b.listen(func(subject string, handle func()) (stop func() error, err error) {
			l, err := b.own.Core().Subscribe(context.Background(), nats.CoreSubscription{
				Subject: subject, Queue: "workers", Handle: func(*brokers.Message) { handle() },
			})
			if err != nil {
				return nil, err
			}
			return func() error { return l.Close(context.Background()) }, nil
		})},
	})
}

func (b *coreBench) listen(subscribe func(subject string, handle func()) (stop func() error, err error)) prepare {
	return func(n int) (run, clean func() error, err error) {
		subject := "peers." + uuid.NewString()
		c := newCountdown(n, nil)
		room := make(chan struct{}, natsUnheard)
		stop, err := subscribe(subject, func() { <-room; c.handled() })
		if err != nil {
			return nil, nil, err
		}
		run = func() error {
			for range n {
				select {
				case room <- struct{}{}:
				default: // what is to be handled may wait in the client
					if err := b.nc.Flush(); err != nil {
						return err
					}
					room <- struct{}{}
				}
				if err := b.nc.Publish(subject, b.body); err != nil {
					return err
				}
			}
			if err := b.nc.Flush(); err != nil {
				return err
			}
			return c.await()
		}
		return run, stop, nil
	}
}

// requestTable has as many as are asking ask one responder in this process.
func (b *coreBench) requestTable(o *options) (t table, err error) {
	topic := "peers-" + uuid.NewString()[:8]
	s, err := b.nc.QueueSubscribe(topic, "responders", func(m *client.Msg) {
		_ = m.Respond(m.Data) // who asks sees it
	})
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, s.Unsubscribe()) }()
	ctx := context.Background()
	r, err := b.own.Respond(ctx, brokers.RespondConfig{Topic: topic}, func(_ context.Context, m *brokers.Message) (brokers.Message, error) {
		return brokers.Message{Payload: m.Payload}, nil
	})
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, r.Close(ctx)) }()
	bare := func() error {
		limited, cancel := context.WithTimeout(ctx, brokers.DefaultRequestTimeout)
		defer cancel()
		_, err := b.nc.RequestWithContext(limited, topic, b.body)
		return err
	}
	own := func() error {
		limited, cancel := context.WithTimeout(ctx, brokers.DefaultRequestTimeout)
		defer cancel()
		_, err := b.own.Request(limited, brokers.Message{Topic: topic, Payload: b.body})
		return err
	}
	ask := func(asking int, once func() error) prepare {
		return func(n int) (run, clean func() error, err error) {
			return func() error { return together(asking, n, once) }, nil, nil
		}
	}
	var contenders []contender
	for _, asking := range []int{1, 64} {
		n := o.messages(10_000 + 1000*asking)
		base := fmt.Sprintf("nats.go, %d at once", asking)
		contenders = append(contenders,
			contender{base, "", n, ask(asking, bare)},
			contender{fmt.Sprintf("troupe, %d at once", asking), base, n, ask(asking, own)})
	}
	return o.compete("Request and reply, "+b.server.name+", 1 KB", contenders)
}

// together has some goroutines share n calls.
func together(goroutines, n int, call func() error) error {
	var (
		all    sync.WaitGroup
		next   atomic.Int64
		failed atomic.Pointer[error]
	)
	for range goroutines {
		all.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := call(); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

const (
	natsKeys   = 10_000
	natsWindow = 4000 // unconfirmed messages
	natsPull   = 500  // messages a pull
	natsSize   = 1024 // bytes
)

// server is a NATS server, and how to reach it.
type server struct {
	name    string
	options []client.Option
	url     string
}

func natsTables(o *options) ([]table, error) { return onNATS(o.natsTables) }

// onNATS has tables made on the server of TEST_NATS_URL, if that is set, and on one
// in this process, whose work counts as the process's.
func onNATS(tables func(server) ([]table, error)) ([]table, error) {
	var all []table
	if url := os.Getenv("TEST_NATS_URL"); url != "" {
		made, err := tables(server{name: "nats-server", url: url})
		if err != nil {
			return nil, err
		}
		all = append(all, made...)
	}
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		return nil, err
	}
	s, err := embedded.Start(embedded.Config{Dir: dir})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	made, err := tables(server{name: "embedded server", options: []client.Option{client.InProcessServer(s)}})
	return append(all, made...), errors.Join(err, s.Close(), os.RemoveAll(dir))
}

// natsBench is what the contenders share.
type natsBench struct {
	server server
	js     jetstream.JetStream
	each   *nats.Broker
	prefix *nats.Broker
	topic  string
	body   []byte
}

func (o *options) natsTables(s server) (made []table, err error) {
	b := &natsBench{server: s, body: make([]byte, natsSize), topic: "peers-" + uuid.NewString()[:8]}
	nc, err := client.Connect(s.url, s.options...)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if b.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(natsWindow)); err != nil {
		return nil, err
	}
	if b.each, err = s.open(nats.AcksEach); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.each.Close()) }()
	if b.prefix, err = s.open(nats.AcksPrefix); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.prefix.Close()) }()
	for _, run := range []func(*options) (table, error){b.publishTable, b.consumeTable} {
		t, err := run(o)
		if err != nil {
			return nil, err
		}
		made = append(made, t)
	}
	return made, nil
}

func (s server) open(mode nats.AckMode) (*nats.Broker, error) {
	cfg := nats.Config{Options: s.options, Acks: mode}
	if s.url != "" {
		cfg.Servers = []string{s.url}
	}
	return nats.Open(context.Background(), cfg)
}

// makeTopic makes a topic for one table, and drop deletes it.
func (b *natsBench) makeTopic(name string, partitions int) (drop func() error, err error) {
	ctx := context.Background()
	if err := b.prefix.EnsureTopic(ctx, brokers.TopicConfig{Name: name, Partitions: partitions}); err != nil {
		return nil, err
	}
	return func() error { return b.js.DeleteStream(ctx, name) }, nil
}

func (b *natsBench) publishTable(o *options) (t table, err error) {
	topic := b.topic + "-out"
	drop, err := b.makeTopic(topic, 12)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	n := o.messages(40_000)
	order := func(order brokers.Order) func(int) (func() error, func() error, error) {
		return func(n int) (func() error, func() error, error) {
			return func() error { return b.publish(topic, n, order) }, nil, nil
		}
	}
	return o.compete(fmt.Sprintf("Publish, JetStream, %s, 1 KB, %d keys", b.server.name, natsKeys), []contender{
		{"nats.go, async window of 4000", "", n, func(n int) (func() error, func() error, error) {
			return func() error { return b.publishBare(topic, n) }, nil, nil
		}},
		{"troupe, Order: None", "nats.go, async window of 4000", n, order(brokers.OrderNone)},
		{"troupe, Order: PerKey", "nats.go, async window of 4000", n, order(brokers.OrderPerKey)},
		{"watermill-nats", "nats.go, async window of 4000", max(1, n/20), func(n int) (func() error, func() error, error) { return b.prepareWatermillPublish(topic, n) }},
	})
}

// publishBare publishes as users of the client do, with an id and a key.
func (b *natsBench) publishBare(topic string, n int) error {
	run := uuid.NewString()
	for i := range n {
		m := &client.Msg{
			Subject: topic + ".p." + strconv.Itoa(i%12), Data: b.body,
			Header: client.Header{
				jetstream.MsgIDHeader: {run + "/" + strconv.Itoa(i)},
				"key":                 {"key-" + strconv.Itoa(i%natsKeys)},
			},
		}
		if _, err := b.js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	<-b.js.PublishAsyncComplete()
	return nil
}

func (b *natsBench) publish(topic string, n int, order brokers.Order) error {
	p, err := b.each.Publisher(brokers.PublisherConfig{Order: order, MaxInFlight: natsWindow})
	if err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	ctx := context.Background()
	for i := range n {
		m := brokers.Message{Topic: topic, Key: []byte("key-" + strconv.Itoa(i%natsKeys)), Payload: b.body}
		err := p.PublishAsync(ctx, m, func(_ brokers.Receipt, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
		if err != nil {
			return err
		}
	}
	if err := p.Close(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *natsBench) consumeTable(o *options) (t table, err error) {
	topic := b.topic + "-in"
	drop, err := b.makeTopic(topic, 1)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	n := o.messages(100_000)
	if err := b.publish(topic, n, brokers.OrderNone); err != nil {
		return table{}, err
	}
	bare := func(policy jetstream.AckPolicy, pinned bool) func(int) (func() error, func() error, error) {
		return func(n int) (func() error, func() error, error) { return b.prepareBare(topic, policy, pinned, n) }
	}
	own := func(broker brokers.Broker) func(int) (func() error, func() error, error) {
		return func(n int) (func() error, func() error, error) { return prepareDriver(broker, topic, n) }
	}
	actors := func(broker brokers.Broker) func(int) (func() error, func() error, error) {
		return func(n int) (func() error, func() error, error) { return prepareSystem(broker, topic, works[0], n, nil) }
	}
	return o.compete(fmt.Sprintf("Consume, JetStream, %s, 1 KB", b.server.name), []contender{
		{"nats.go, pull 500, Ack each", "", n, bare(jetstream.AckExplicitPolicy, false)},
		{"the same, pinned to one client", "", n, bare(jetstream.AckExplicitPolicy, true)},
		{"troupe, acks=each", "nats.go, pull 500, Ack each", n, own(b.each)},
		{"troupe with key actors", "nats.go, pull 500, Ack each", n, actors(b.each)},
		{"watermill-nats, router, AckAsync", "nats.go, pull 500, Ack each", max(1, n/4), func(n int) (func() error, func() error, error) { return b.prepareWatermillConsume(topic, n, true) }},
		{"watermill-nats, router, default", "nats.go, pull 500, Ack each", max(1, n/20), func(n int) (func() error, func() error, error) { return b.prepareWatermillConsume(topic, n, false) }},
		{"nats.go, pull 500, AckAll each 100", "", n, bare(jetstream.AckAllPolicy, false)},
		{"the same, pinned", "", n, bare(jetstream.AckAllPolicy, true)},
		{"troupe, acks=prefix", "nats.go, pull 500, AckAll each 100", n, own(b.prefix)},
	})
}

// prepareBare reads as users of the client do.
func (b *natsBench) prepareBare(topic string, policy jetstream.AckPolicy, pinned bool, n int) (run, clean func() error, err error) {
	ctx := context.Background()
	cfg := jetstream.ConsumerConfig{
		Durable: "bare-" + uuid.NewString(), AckPolicy: policy, MaxAckPending: 2048, FilterSubject: topic + ".p.0",
	}
	options := []jetstream.PullMessagesOpt{jetstream.PullMaxMessages(natsPull)}
	if pinned {
		cfg.PriorityPolicy, cfg.PriorityGroups = jetstream.PriorityPolicyPinned, []string{"g"}
		options = append(options, jetstream.PullPriorityGroup("g"))
	}
	c, err := b.js.CreateConsumer(ctx, topic, cfg)
	if err != nil {
		return nil, nil, err
	}
	run = func() error {
		messages, err := c.Messages(options...)
		if err != nil {
			return err
		}
		defer messages.Stop()
		for i := 1; i <= n; i++ {
			m, err := messages.Next()
			if err != nil {
				return err
			}
			if policy == jetstream.AckExplicitPolicy || i%100 == 0 || i == n {
				if err := m.Ack(); err != nil {
					return err
				}
			}
		}
		return b.js.Conn().Flush()
	}
	return run, func() error { return b.js.DeleteConsumer(ctx, topic, cfg.Durable) }, nil
}

// prepareDriver reads with the driver alone.
func prepareDriver(broker brokers.Broker, topic string, n int) (run, clean func() error, err error) {
	ctx := context.Background()
	s, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: "driver-" + uuid.NewString(), Topics: []string{topic}})
	if err != nil {
		return nil, nil, err
	}
	p, err := s.Accept(ctx)
	if err != nil {
		return nil, nil, err
	}
	run = func() error {
		for got := 0; got < n; {
			batch, err := p.Fetch(ctx, brokers.FetchLimit{Messages: natsPull})
			if err != nil {
				return err
			}
			got += len(batch)
			if err := p.Ack(brokers.Ack{UpTo: batch[len(batch)-1].Offset}); err != nil {
				return err
			}
		}
		return p.Close(ctx)
	}
	return run, func() error { return s.Close(ctx) }, nil
}

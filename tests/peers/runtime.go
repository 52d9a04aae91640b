package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/prommetrics"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

const (
	workers = 256 // troupe's default, and the pool's
	payload = 100 // bytes
	topic   = "in"
)

// work is what a handler does.
type work struct {
	name   string
	blocks bool
	do     func()
}

var works = []work{
	{"no-op handler", false, func() {}},
	{"20 us of CPU", false, func() { spin(20 * time.Microsecond) }},
	{"1 ms of sleep", true, func() { time.Sleep(time.Millisecond) }},
}

// spin uses the processor.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}

// runtimeTables compare what handles a message in the process, for numbers of
// keys and kinds of handlers.
func runtimeTables(o *options) ([]table, error) {
	var all []table
	for _, w := range works {
		for _, keys := range []int{1, 10_000, 1_000_000} {
			if w.blocks && keys != 10_000 || !w.blocks && w.name != works[0].name && keys == 1_000_000 {
				continue // it would measure the same once more, or a sleep alone
			}
			t, err := o.runtimeTable(w, keys)
			if err != nil {
				return nil, err
			}
			all = append(all, t)
		}
	}
	return all, nil
}

func (o *options) runtimeTable(w work, keys int) (table, error) {
	n, slow := o.messages(1_000_000), o.messages(20_000)
	switch {
	case w.blocks:
		n, slow = o.messages(200_000), o.messages(2000)
	case w.name != works[0].name:
		n = o.messages(50_000)
	}
	var contenders []contender
	add := func(name, base string, messages int, prepare func(keys [][]byte, w work) (func() error, func() error, error)) {
		contenders = append(contenders, contender{name: name, base: base, messages: messages, prepare: func(n int) (func() error, func() error, error) {
			return prepare(keysOf(n, keys), w)
		}})
	}
	const base = "worker pool on the broker"
	add("worker pool on a slice", base, n, preparePool)
	add(base, "", n, preparePoolOnBroker)
	add("troupe", base, n, prepareTroupe(nil))
	if keys == 10_000 && !w.blocks {
		sink, err := prommetrics.New(prommetrics.Config{Registerer: prometheus.NewRegistry()})
		if err != nil {
			return table{}, err
		}
		add("troupe with its Prometheus sink", base, n, prepareTroupe(sink.Observe))
	}
	if keys < 1_000_000 {
		add("protoactor, actor per key, on a slice", base, n, prepareProtoactor)
		add("watermill router on its Go channel", base, slow, prepareWatermill(gochannel.Config{}))
		add("the same, publishing blocks until ack", base, slow, prepareWatermill(gochannel.Config{BlockPublishUntilSubscriberAck: true}))
	}
	return o.compete(fmt.Sprintf("%s, %d keys", w.name, keys), contenders)
}

// keysOf are the keys of n messages, spread.
func keysOf(n, keys int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = binary.BigEndian.AppendUint64(nil, uint64(i%keys)*0x9e3779b97f4a7c15)
	}
	return all
}

func preparePool(keys [][]byte, w work) (run, clean func() error, err error) {
	c := newCountdown(len(keys), nil)
	p := newMessagePool(w, c)
	messages := make([]*brokers.Message, len(keys))
	body := make([]byte, payload)
	for i, key := range keys {
		messages[i] = &brokers.Message{Topic: topic, Key: key, Payload: body}
	}
	run = func() error {
		for ; len(messages) > 0; messages = messages[min(batch, len(messages)):] {
			p.submit(messages[:min(batch, len(messages))])
		}
		return c.await()
	}
	return run, func() error { p.close(); return nil }, nil
}

func newMessagePool(w work, c *countdown) *pool[*brokers.Message] {
	return newPool(workers, w.blocks, func(m *brokers.Message) []byte { return m.Key }, func(*brokers.Message) { w.do(); c.handled() })
}

// preparePoolOnBroker is the limit for troupe: it reads the same partitions of
// the same broker into a pool. It acknowledges nothing.
func preparePoolOnBroker(keys [][]byte, w work) (run, clean func() error, err error) {
	broker, err := filled(keys)
	if err != nil {
		return nil, nil, err
	}
	c := newCountdown(len(keys), nil)
	p := newMessagePool(w, c)
	ctx, stop := context.WithCancel(context.Background())
	sub, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: "g", Topics: []string{topic}, MaxUnsettled: len(keys)})
	if err != nil {
		stop()
		return nil, nil, err
	}
	var readers sync.WaitGroup
	run = func() error {
		readers.Go(func() {
			for {
				part, err := sub.Accept(ctx)
				if err != nil {
					return // closed
				}
				readers.Go(func() { read(ctx, part, p) })
			}
		})
		return c.await()
	}
	clean = func() error {
		stop()
		err := sub.Close(ctx)
		readers.Wait()
		p.close()
		if errors.Is(err, context.Canceled) {
			err = nil // it was told not to wait
		}
		return errors.Join(err, broker.Close())
	}
	return run, clean, nil
}

func read(ctx context.Context, part brokers.Partition, p *pool[*brokers.Message]) {
	var items []*brokers.Message
	for {
		messages, err := part.Fetch(ctx, brokers.FetchLimit{Messages: batch})
		if err != nil {
			return // closed
		}
		items = items[:0]
		for i := range messages {
			items = append(items, &messages[i])
		}
		p.submit(items)
	}
}

// prepareTroupe has the messages in the broker before the clock starts. Reading
// them from it is part of what is measured.
func prepareTroupe(observe func(actors.Event)) func([][]byte, work) (run, clean func() error, err error) {
	return func(keys [][]byte, w work) (run, clean func() error, err error) { return troupeOn(observe, keys, w) }
}

func troupeOn(observe func(actors.Event), keys [][]byte, w work) (run, clean func() error, err error) {
	broker, err := filled(keys)
	if err != nil {
		return nil, nil, err
	}
	c := newCountdown(len(keys), nil)
	sys, err := actors.NewSystem(actors.Config{Observe: observe}, actors.Subscription{
		Group: "g", Broker: broker, Topics: []string{topic}, Concurrency: workers,
		Actor: actors.Func(func(context.Context, brokers.Message) error { w.do(); c.handled(); return nil }),
	})
	if err != nil {
		return nil, nil, err
	}
	run, stop := running(sys, c)
	return run, func() error { return errors.Join(stop(), broker.Close()) }, nil
}

// running has a system run until all is handled, and then until it is stopped.
func running(sys *actors.System, c *countdown) (run, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	run = func() error {
		go func() {
			_, err := sys.Run(ctx)
			ended <- err
		}()
		return c.await()
	}
	return run, func() error { cancel(); return <-ended }
}

func filled(keys [][]byte) (*memory.Broker, error) {
	broker := memory.New(memory.Config{Partitions: 12})
	pub, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	var failed atomic.Pointer[error]
	body := make([]byte, payload)
	for _, key := range keys {
		err := pub.PublishAsync(ctx, brokers.Message{Topic: topic, Key: key, Payload: body}, func(_ brokers.Receipt, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	if err := pub.Close(ctx); err != nil {
		return nil, err
	}
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return broker, nil
}

// prepareProtoactor has an actor for each key, as one comes to do it first: a map
// of PIDs, and Send.
func prepareProtoactor(keys [][]byte, w work) (run, clean func() error, err error) {
	c := newCountdown(len(keys), nil)
	system := actor.NewActorSystem()
	work := w.do
	if w.blocks { // as many at a time as the others: its dispatcher has no bound
		slots := make(chan struct{}, workers)
		work = func() {
			slots <- struct{}{}
			w.do()
			<-slots
		}
	}
	props := actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*brokers.Message); ok {
			work()
			c.handled()
		}
	})
	pids := make(map[string]*actor.PID)
	for _, key := range keys {
		if pids[string(key)] == nil {
			pids[string(key)] = system.Root.Spawn(props)
		}
	}
	body := make([]byte, payload)
	run = func() error {
		for _, key := range keys {
			system.Root.Send(pids[string(key)], &brokers.Message{Key: key, Payload: body})
		}
		return c.await()
	}
	clean = func() error {
		for _, pid := range pids {
			if err := system.Root.StopFuture(pid).Wait(); err != nil {
				return err
			}
		}
		system.Shutdown()
		return nil
	}
	return run, clean, nil
}

// prepareWatermill is its router on a Go channel. By default that bounds neither
// memory nor order; with a publisher that blocks it handles one at a time.
func prepareWatermill(cfg gochannel.Config) func([][]byte, work) (run, clean func() error, err error) {
	return func(keys [][]byte, w work) (run, clean func() error, err error) { return watermillOn(cfg, keys, w) }
}

func watermillOn(cfg gochannel.Config, keys [][]byte, w work) (run, clean func() error, err error) {
	c := newCountdown(len(keys), nil)
	channel := gochannel.NewGoChannel(cfg, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return nil, nil, err
	}
	router.AddConsumerHandler("handler", topic, channel, func(*message.Message) error { w.do(); c.handled(); return nil })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	<-router.Running()
	body := make([]byte, payload)
	run = func() error {
		for range keys {
			if err := channel.Publish(topic, message.NewMessage(watermill.NewUUID(), body)); err != nil {
				return err
			}
		}
		return c.await()
	}
	clean = func() error {
		stop()
		return errors.Join(<-ended, channel.Close())
	}
	return run, clean, nil
}

// idleTables say what a key costs that has nothing to do, and that nothing is
// left of it once it is passivated.
func idleTables(o *options) ([]table, error) {
	n := o.messages(1_000_000)
	broker, err := filled(keysOf(n, n))
	if err != nil {
		return nil, err
	}
	c := newCountdown(n, nil)
	sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: "g", Broker: broker, Topics: []string{topic}, PassivateAfter: 20 * time.Second,
		Actor: actors.Func(func(context.Context, brokers.Message) error { c.handled(); return nil }),
	})
	if err != nil {
		return nil, err
	}
	before := heap()
	run, stop := running(sys, c)
	if err := run(); err != nil {
		return nil, errors.Join(err, stop())
	}
	idle := heap()
	time.Sleep(45 * time.Second)
	after := heap()
	if err := errors.Join(stop(), broker.Close()); err != nil {
		return nil, err
	}
	perKey := func(bytes uint64) float64 { return (float64(bytes) - float64(before)) / float64(n) }
	return []table{{
		Title: fmt.Sprintf("Heap per idle stateless key, of %d", n),
		Notes: []string{
			fmt.Sprintf("%.0f bytes while it is there", perKey(idle)),
			fmt.Sprintf("%.1f bytes after passivation", perKey(after)),
		},
	}}, nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

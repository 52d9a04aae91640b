package actortest

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// Kit is a subscription at work over an in-process broker, and the [Scope] of
// all its keys. It drains and closes with the test.
type Kit struct {
	Scope
	t      TB
	sub    actors.Subscription
	broker *Broker // the test's connection
	actors *actor.ActorSystem

	resolvers []actor.AddressResolver // those that are not of a process
	process   *process
	published int
}

// process is what runs the subscription, until it stops or crashes.
type process struct {
	system *actors.System
	broker *Broker // its connection
	cancel context.CancelFunc
	ended  chan struct{}

	// Readable when ended is closed.
	report actors.Report
	err    error

	expected bool // that it ended with err
}

// New starts a system with the subscription. It fills in what is missing: a
// Broker whose topics have one partition, so that offsets can be told
// beforehand; the Group "test"; the topic "in". A Broker that is given is a
// *memory.Broker, for another config, or the [Broker] of another kit, to be one
// more process beside it and share its story. It needs a bubble: see [Run] and
// synctest.Test.
func New(t TB, sub actors.Subscription) *Kit {
	t.Helper()
	needBubble(t)
	k := &Kit{t: t, broker: brokerOf(t, sub.Broker)}
	k.sub = filledIn(sub)
	k.Scope = k.broker.scope
	k.codec, k.group, k.topic = k.sub.Codec, k.sub.Group, k.sub.Topics[0]
	k.makeTopics()
	k.actors = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	k.hearUndelivered()
	k.start()
	t.Cleanup(k.close)
	return k
}

func brokerOf(t TB, given brokers.Broker) *Broker {
	t.Helper()
	switch b := given.(type) {
	case nil:
		return NewBroker(t, memory.Config{Partitions: 1})
	case *memory.Broker:
		return record(t, b)
	case *Broker:
		return b
	}
	t.Fatalf("actortest: Subscription.Broker is a %T: only a *memory.Broker or a *actortest.Broker runs in virtual time", given)
	return nil
}

func filledIn(sub actors.Subscription) actors.Subscription {
	if sub.Group == "" {
		sub.Group = "test"
	}
	if len(sub.Topics) == 0 {
		sub.Topics = []string{"in"}
	}
	if sub.Key == nil {
		sub.Key = brokers.MessageKey
	}
	if sub.Codec == nil {
		sub.Codec = actors.JSON{}
	}
	return sub
}

// makeTopics makes the topics that are missing, so that the partitions are owned
// from the beginning.
func (k *Kit) makeTopics() {
	k.t.Helper()
	for _, topic := range k.sub.Topics {
		if k.server.Partitions(topic) > 0 {
			continue
		}
		if err := k.broker.EnsureTopic(context.Background(), brokers.TopicConfig{Name: topic}); err != nil {
			k.t.Fatalf("actortest: make topic %q: %v", topic, err)
		}
	}
}

// start runs a system in a process of its own.
func (k *Kit) start() {
	k.t.Helper()
	k.resolvers = slices.Clone(k.actors.ProcessRegistry.RemoteHandlers)
	p := &process{broker: k.broker.connect(k.sub.Key), ended: make(chan struct{})}
	sub := k.sub
	sub.Broker = p.broker
	var err error
	p.system, err = actors.NewSystem(actors.Config{
		Logger: k.story.logger(), ActorSystem: k.actors, Observe: k.observe,
	}, sub)
	if err != nil {
		k.t.Fatalf("actortest: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	k.process = p
	go func() {
		defer close(p.ended)
		p.report, p.err = p.system.Run(ctx)
		k.story.add(entry{group: k.group, what: ended{p.report, p.err}})
	}()
	synctest.Wait()
}

// observe enters the events of the system, but for acknowledgements, which the
// partitions tell by message.
func (k *Kit) observe(event actors.Event) {
	if _, is := event.(actors.Acknowledged); is {
		return
	}
	e := entry{group: k.group, what: event}
	if p, ok := placeOf(event); ok {
		e.topic, e.partition, e.key = p.Topic, p.Partition, p.Key
		if e.message = k.story.delivered(spot{p.Group, p.Topic, p.Partition, p.Offset}); e.message != nil {
			e.key, _ = k.sub.Key(e.message)
		}
	}
	k.story.add(e)
}

// placeOf is the Place in an event, if it has one.
func placeOf(event actors.Event) (p actors.Place, ok bool) {
	if field := reflect.ValueOf(event).FieldByName("Place"); field.IsValid() {
		p, ok = field.Interface().(actors.Place)
	}
	return p, ok
}

// Publish publishes values under a key to the subscription's first topic, all
// together, and returns where they lie, once all is at rest. Values are encoded
// as actors.Context.Publish does: a []byte and a brokers.Message go as they are.
func (k *Kit) Publish(key string, values ...any) []brokers.Receipt {
	k.t.Helper()
	messages := make([]brokers.Message, len(values))
	for i, v := range values {
		m, err := encode(k.codec, v)
		if err != nil {
			k.t.Fatalf("actortest: encode a %T: %v", v, err)
		}
		m.Key = []byte(key)
		messages[i] = m
	}
	return k.PublishMessages(messages...)
}

// PublishMessages publishes messages as Publish does, with keys of their own or
// none. One without a Topic goes to the subscription's first; one without an ID
// gets "message-1" and so on.
func (k *Kit) PublishMessages(messages ...brokers.Message) []brokers.Receipt {
	k.t.Helper()
	messages = slices.Clone(messages)
	for i := range messages {
		k.published++
		if messages[i].Topic == "" {
			messages[i].Topic = k.sub.Topics[0]
		}
		if messages[i].ID == "" {
			messages[i].ID = fmt.Sprintf("message-%d", k.published)
		}
	}
	receipts := k.broker.Feed(messages...)
	synctest.Wait()
	return receipts
}

// Advance lets virtual time go by, and waits until all is at rest.
func (k *Kit) Advance(d time.Duration) { pass(d) }

// System is the system that runs now: another one after [Kit.Crash].
func (k *Kit) System() *actors.System { return k.process.system }

// ActorSystem is protoactor's, for actors of the test's. It outlives a crash.
func (k *Kit) ActorSystem() *actor.ActorSystem { return k.actors }

// PID is the address of a key, of the first topic. A crash makes it useless.
func (k *Kit) PID(key string) *actor.PID {
	return k.System().PID(k.group, k.sub.Topics[0], []byte(key))
}

// Broker is the test's own connection, to be given to another kit. It does not
// end with a crash.
func (k *Kit) Broker() *Broker { return k.broker }

// Server is the broker's side, to look into it and to break it.
func (k *Kit) Server() *memory.Server { return k.server }

// Story tells what has happened: a line each, with the virtual time since the
// beginning. Log lines below the level Info are left out.
func (k *Kit) Story() string { return k.story.String() }

package requests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// KeysConfig says which keys answer what.
type KeysConfig struct {
	// Client is what requests come by. Required.
	Client Client
	// Topic that requests are sent to. Required.
	Topic string
	// Group and Of name the subscription and its topic, whose keys answer.
	// Required.
	Group, Of string
	// Partitions is how many Of has. Required.
	Partitions int
	// Concurrency and MaxPending are as in brokers.RespondConfig, for Topic and
	// for each partition owned.
	Concurrency, MaxPending int
}

// Keys answers requests by the actors of keys. A request may come to any member;
// it is handed to the owner of its key's partition, whose actor answers. While a
// partition has no owner, its requests are answered with CodeNotOwned, and [Ask]
// waits; a partition of RabbitMQ has none before its first message.
//
// An owner that cannot know yet that it has lost its partition may answer from
// the state it had.
//
// The key's partition is told by its hash, as publishers choose it by default.
type Keys struct {
	cfg    KeysConfig
	routes map[string]route
	wake   chan struct{} // of one

	mu    sync.Mutex
	owned map[int32]uint64 // the epochs of partitions
}

// route asks an actor.
type route func(ctx context.Context, sys *actors.System, m *brokers.Message) (brokers.Message, error)

// NewKeys checks the config; an error wraps [brokers.ErrInvalid] and names the
// field.
func NewKeys(cfg KeysConfig) (*Keys, error) {
	switch {
	case cfg.Client.Broker == nil:
		return nil, fmt.Errorf("%w: KeysConfig.Client has no Broker", brokers.ErrInvalid)
	case cfg.Topic == "", cfg.Group == "", cfg.Of == "":
		return nil, fmt.Errorf("%w: KeysConfig needs Topic, Group and Of", brokers.ErrInvalid)
	case cfg.Partitions < 1:
		return nil, fmt.Errorf("%w: KeysConfig.Partitions is %d", brokers.ErrInvalid, cfg.Partitions)
	}
	return &Keys{
		cfg: cfg, routes: map[string]route{}, wake: make(chan struct{}, 1), owned: map[int32]uint64{},
	}, nil
}

// On has requests of type Q answered with a P by the handler that the key's
// actor has for letters of type Q ([actors.OnRequest]). It panics if the type
// name is taken, and must not be called after Run.
func On[Q, P any](k *Keys) {
	name := orName[Q]("")
	if _, taken := k.routes[name]; taken {
		panic(fmt.Sprintf("requests: type name %q is registered twice", name))
	}
	k.routes[name] = func(ctx context.Context, sys *actors.System, m *brokers.Message) (brokers.Message, error) {
		q, err := decode[Q](k.cfg.Client.codec(), m)
		if err != nil {
			return brokers.Message{}, invalid(err)
		}
		p, err := actors.Ask[P](ctx, sys.ActorSystem(), sys.PID(k.cfg.Group, k.cfg.Of, m.Key), q)
		if err != nil {
			return brokers.Message{}, inWords(err)
		}
		return encode(k.cfg.Client, p)
	}
}

// inWords gives the runtime's errors their codes.
func inWords(err error) error {
	switch {
	case errors.Is(err, actors.ErrNotOwned):
		return &brokers.ReplyError{Code: brokers.CodeNotOwned, Message: err.Error()}
	case errors.Is(err, actors.ErrBacklogFull):
		return &brokers.ReplyError{Code: brokers.CodeOverloaded, Message: err.Error()}
	}
	return err
}

// Observe must be told of the system's events ([actors.Config].Observe): it
// follows the partitions that come and go.
func (k *Keys) Observe(e actors.Event) {
	switch e := e.(type) {
	case actors.PartitionAssigned:
		k.note(e.Place, true)
	case actors.PartitionRevoked:
		k.note(e.Place, false)
	case actors.PartitionLost:
		k.note(e.Place, false)
	}
}

func (k *Keys) note(at actors.Place, owned bool) {
	if at.Group != k.cfg.Group || at.Topic != k.cfg.Of {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if owned {
		k.owned[at.Partition] = at.Epoch
	} else if k.owned[at.Partition] == at.Epoch { // the next epoch may have begun
		delete(k.owned, at.Partition)
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run answers until ctx ends; then it takes no more requests, and waits until
// those that were taken are answered, for as long as the system's actors answer
// and at most for brokers.DefaultRequestTimeout. Cancel it before the system.
func (k *Keys) Run(ctx context.Context, sys *actors.System) error {
	serving := map[int32]brokers.Responder{}
	front, err := k.respond(ctx, k.cfg.Topic, func(ctx context.Context, m *brokers.Message) (brokers.Message, error) {
		return k.hand(ctx, sys, m)
	})
	if err != nil {
		return fmt.Errorf("requests: serve %q: %w", k.cfg.Topic, err)
	}
	again := time.NewTicker(time.Second) // for what the broker refused
	defer again.Stop()
	for ctx.Err() == nil {
		k.follow(ctx, sys, serving)
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-again.C:
		}
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), brokers.DefaultRequestTimeout)
	defer cancel()
	errs := []error{front.Close(limit)}
	for _, r := range serving {
		errs = append(errs, r.Close(limit))
	}
	return errors.Join(errs...)
}

func (k *Keys) respond(ctx context.Context, topic string, answer brokers.AnswerFunc) (brokers.Responder, error) {
	return k.cfg.Client.Broker.Respond(ctx, brokers.RespondConfig{
		Topic: topic, Concurrency: k.cfg.Concurrency, MaxPending: k.cfg.MaxPending,
	}, answer)
}

// follow serves the partitions that are owned now, and no others.
func (k *Keys) follow(ctx context.Context, sys *actors.System, serving map[int32]brokers.Responder) {
	for p := range int32(k.cfg.Partitions) {
		r := serving[p]
		switch owned := k.owns(p); {
		case owned && r == nil:
			r, err := k.respond(ctx, k.partition(p), func(ctx context.Context, m *brokers.Message) (brokers.Message, error) {
				return k.answer(ctx, sys, m)
			})
			if err == nil { // else it is tried again, and meanwhile the partition counts as nobody's
				serving[p] = r
			}
		case !owned && r != nil:
			delete(serving, p)
			limit, cancel := context.WithTimeout(ctx, time.Second)
			_ = r.Close(limit) // what is left is answered with CodeNotOwned by the actors
			cancel()
		}
	}
}

func (k *Keys) owns(p int32) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, owned := k.owned[p]
	return owned
}

// partition is the topic of requests to one partition's owner.
func (k *Keys) partition(p int32) string {
	return fmt.Sprintf("%s.%s.p%d", k.cfg.Topic, k.cfg.Group, p)
}

// hand answers a request that came to this member, or has the owner answer it.
func (k *Keys) hand(ctx context.Context, sys *actors.System, m *brokers.Message) (brokers.Message, error) {
	if m.Key == nil {
		return brokers.Message{}, invalid(errors.New("requests: a request to an actor needs a key"))
	}
	p := brokers.PartitionOf(m.Key, k.cfg.Partitions)
	if k.owns(p) {
		return k.answer(ctx, sys, m)
	}
	onward := *m
	onward.Topic, onward.ReplyTo = k.partition(p), ""
	reply, err := k.cfg.Client.Broker.Request(ctx, onward)
	if errors.Is(err, brokers.ErrNoResponders) {
		err = &brokers.ReplyError{Code: brokers.CodeNotOwned, Message: fmt.Sprintf("partition %d has no owner now", p)}
	}
	return reply, err
}

// answer has this member's actor answer.
func (k *Keys) answer(ctx context.Context, sys *actors.System, m *brokers.Message) (brokers.Message, error) {
	ask, ok := k.routes[typeOf(m)]
	if !ok {
		return brokers.Message{}, unknownType(typeOf(m))
	}
	return ask(ctx, sys, m)
}

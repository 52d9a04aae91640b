package main

import (
	"context"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// prepareSystem reads with the whole runtime: key actors, policy and tracking.
func prepareSystem(broker brokers.Broker, topic string, w work, n int, joined func()) (run, clean func() error, err error) {
	c := newCountdown(n, nil)
	sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: "peers-" + uuid.NewString(), Broker: joining{broker, joined}, Topics: []string{topic}, Concurrency: workers,
		Actor: actors.Func(func(context.Context, brokers.Message) error { w.do(); c.handled(); return nil }),
	})
	if err != nil {
		return nil, nil, err
	}
	run, clean = running(sys, c)
	return run, clean, nil
}

// joining is a broker that tells when a partition is owned. The events of a system
// tell it, too, but then there are some for each message.
type joining struct {
	brokers.Broker
	joined func()
}

func (j joining) Subscribe(ctx context.Context, cfg brokers.SubscriptionConfig) (brokers.Subscription, error) {
	s, err := j.Broker.Subscribe(ctx, cfg)
	return accepting{s, j.joined}, err
}

type accepting struct {
	brokers.Subscription
	joined func()
}

func (a accepting) Accept(ctx context.Context) (brokers.Partition, error) {
	p, err := a.Subscription.Accept(ctx)
	if err == nil && a.joined != nil {
		a.joined()
	}
	return p, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/sagas"
)

// The topics of sagas whose steps are messages.
const (
	commandsTopic = "commands"
	repliesTopic  = "replies"
	deadTopic     = "dead"
)

// prepareMessages is prepareSagas with steps that are commands, which somebody in
// the same process answers at once: each goes through the outbox, JetStream within
// the process, a handler, JetStream and the inbox.
func prepareMessages(store sagas.Store, sources []outbox.Source, many int) prepare {
	return func(n int) (run, clean func() error, err error) {
		broker, remove, err := embeddedBroker()
		if err != nil {
			return nil, nil, err
		}
		ctx := context.Background()
		runner, err := sagas.Open(ctx, sagas.Config[purchase]{
			Store: store, Name: "peers", Replies: repliesTopic, DeadLetters: deadTopic,
			Definitions: []*sagas.Definition[purchase]{messageSteps()},
		})
		if err != nil {
			return nil, nil, errors.Join(err, remove())
		}
		stop, err := participate(runner, broker, sources)
		if err != nil {
			return nil, nil, errors.Join(err, runner.Close(), remove())
		}
		return runSagas(runner, many, n), func() error { return errors.Join(stop(), runner.Close(), remove()) }, nil
	}
}

func messageSteps() *sagas.Definition[purchase] {
	send := func(name string) sagas.Action[purchase] {
		return sagas.Send(time.Minute, func(p purchase) sagas.Command {
			return sagas.Command{Topic: commandsTopic, Type: name, Body: p}
		}, nil)
	}
	return &sagas.Definition[purchase]{Name: "purchase by messages", Version: 1, Steps: []sagas.Step[purchase]{
		{Name: "reserve", Do: send("reserve"), Undo: send("release")},
		{Name: "charge", Kind: sagas.Pivot, Do: send("charge")},
		{Name: "ship", Kind: sagas.Retriable, Do: send("ship")},
	}}
}

func embeddedBroker() (broker brokers.Broker, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		return nil, nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	ctx := context.Background()
	broker, err = brokers.Open(ctx, "nats://embedded?dir="+url.QueryEscape(dir), embedded.Driver)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	remove = func() error { return errors.Join(broker.Close(), os.RemoveAll(dir)) }
	for _, topic := range []string{commandsTopic, repliesTopic, deadTopic} {
		if err := broker.EnsureTopic(ctx, brokers.TopicConfig{Name: topic, Partitions: 4}); err != nil {
			return nil, nil, errors.Join(err, remove())
		}
	}
	return broker, remove, nil
}

// participate relays commands, answers them and tells the runner, until stop.
func participate(runner *sagas.Runner[purchase], broker brokers.Broker, sources []outbox.Source) (stop func() error, err error) {
	system, err := actors.NewSystem(actors.Config{}, runner.Subscription("sagas", broker), actors.Subscription{
		Group: "participant", Broker: broker, Topics: []string{commandsTopic}, Actor: actors.Shared(actors.HandlerFunc(accept)),
	})
	if err != nil {
		return nil, err
	}
	runs := []func(context.Context) error{func(ctx context.Context) error { _, err := system.Run(ctx); return err }}
	for _, source := range sources {
		relay, err := outbox.NewRelay(outbox.Config{Source: source, Broker: broker, Name: "peers-" + uuid.NewString()[:8]})
		if err != nil {
			return nil, err
		}
		runs = append(runs, relay.Run)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(runs))
	for _, run := range runs {
		go func() { ended <- run(ctx) }()
	}
	return func() error {
		cancel()
		var errs []error
		for range runs {
			errs = append(errs, <-ended)
		}
		return errors.Join(errs...)
	}, nil
}

func accept(ctx *actors.Context) error {
	reply, err := sagas.Answer(ctx.Event(), sagas.Accepted, "", nil)
	if err != nil {
		return err
	}
	return ctx.Publish(reply.Topic, reply)
}

// runSagas runs n sagas to their end, many at once.
func runSagas(runner *sagas.Runner[purchase], many, n int) func() error {
	ctx := context.Background()
	return func() error {
		return together(many, n, func() error {
			handle, err := runner.Start(ctx, uuid.NewString(), purchase{})
			if err != nil {
				return err
			}
			in, err := handle.Wait(ctx)
			if err == nil && in.Status != sagas.Completed {
				err = fmt.Errorf("a saga has ended %v", in.Status)
			}
			return err
		})
	}
}

// Command inquiry asks accounts for their balances while deposits flow. Each
// account is an actor that handles its deposits in order, and answers requests in
// between:
//
//	inquiry
//	inquiry -broker nats://user@host:4222?password_env=NATS_PASSWORD
//
// Without -broker it runs a NATS server of its own, in a directory that it
// removes. On another broker the topic should be new: deposits of a former run
// count as well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/requests"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

const (
	topic      = "inquiry-deposits"
	group      = "inquiry-bank"
	inquiries  = "inquiry-balances"
	partitions = 4
	deposits   = 1000 // to each account
)

var names = []string{"ann", "bob", "cleo"}

func main() {
	dsn := flag.String("broker", "", "DSN of a NATS broker; none runs a server here")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dsn, os.Stdout); err != nil {
		stop()
		log.Fatal(err) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, dsn string, out io.Writer) (err error) {
	if dsn == "" {
		dir, err := os.MkdirTemp("", "inquiry")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		dsn = "nats://embedded?dir=" + dir
	}
	broker, err := brokers.Open(ctx, dsn, embedded.Driver, nats.Driver)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	asker, ok := broker.(brokers.Requests)
	if !ok {
		return fmt.Errorf("%w: %s has no request and reply", brokers.ErrUnsupported, broker.Name())
	}
	if err := broker.EnsureTopic(ctx, brokers.TopicConfig{Name: topic, Partitions: partitions}); err != nil {
		return err
	}
	client := requests.Client{Broker: asker}
	bank, err := openBank(broker, client)
	if err != nil {
		return err
	}
	work, done := context.WithCancel(ctx)
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = bank.run(work) })
	err = errors.Join(inquire(ctx, broker, client, out), ctx.Err())
	done()
	running.Wait()
	return errors.Join(err, ended)
}

// inquire has deposits made, asks in between and until all are in.
func inquire(ctx context.Context, broker brokers.Broker, client requests.Client, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	paying := make(chan error, 1)
	go func() { paying <- pay(ctx, broker) }()
	for _, name := range names {
		if err := ask(ctx, client, name, out); err != nil {
			return errors.Join(err, <-paying)
		}
	}
	return <-paying
}

// ask asks for one balance until it is what was paid in, which it comes to in
// steps that are never taken back.
func ask(ctx context.Context, client requests.Client, name string, out io.Writer) error {
	last := 0
	for last < deposits {
		got, err := requests.Ask[getBalance, balance](ctx, client, requests.To{Topic: inquiries, Key: []byte(name)}, getBalance{})
		var unknown *brokers.ReplyError
		switch {
		case errors.Is(err, brokers.ErrNoResponders), errors.As(err, &unknown) && unknown.Code == codeNoAccount:
			got.Pence = last // the bank opens, or the first deposit is under way
		case err != nil:
			return fmt.Errorf("balance of %s: %w", name, err)
		}
		if got.Pence < last {
			return fmt.Errorf("balance of %s fell from %d to %d", name, last, got.Pence)
		}
		if last = got.Pence; last < deposits {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Millisecond):
			}
		}
	}
	_, err := fmt.Fprintf(out, "%s has %d pence\n", name, last)
	return err
}

// pay publishes a penny at a time, to each in turn.
func pay(ctx context.Context, broker brokers.Broker) error {
	p, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	for range deposits {
		batch := make([]brokers.Message, 0, len(names))
		for _, name := range names {
			batch = append(batch, brokers.Message{Topic: topic, Key: []byte(name), Payload: []byte(`{"Pence": 1}`)})
		}
		if _, err := p.Publish(ctx, batch...); err != nil {
			return errors.Join(err, p.Close(ctx))
		}
	}
	return p.Close(ctx)
}

// bank is the accounts, and what brings them deposits and inquiries.
type bank struct {
	system *actors.System
	keys   *requests.Keys
}

func openBank(broker brokers.Broker, client requests.Client) (*bank, error) {
	keys, err := requests.NewKeys(requests.KeysConfig{
		Client: client, Topic: inquiries, Group: group, Of: topic, Partitions: partitions,
	})
	if err != nil {
		return nil, err
	}
	requests.On[getBalance, balance](keys)
	system, err := actors.NewSystem(actors.Config{Observe: keys.Observe},
		actors.Subscription{Group: group, Broker: broker, Topics: []string{topic}, Actor: accounts()})
	return &bank{system, keys}, err
}

// run answers until ctx ends, and then lets the accounts finish.
func (b *bank) run(ctx context.Context) error {
	systemCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	var ended error
	running.Go(func() { _, ended = b.system.Run(systemCtx) })
	err := b.keys.Run(ctx, b.system)
	stop()
	running.Wait()
	return errors.Join(err, ended)
}

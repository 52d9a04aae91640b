package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
	"github.com/troupe-go/troupe/supervision"
	"github.com/troupe-go/troupe/supervision/deadletters"
)

var errVoid = errors.New("the order is void")

// work publishes orders, handles those of the EU, and moves what died in the US
// there.
func (s shop) work(ctx context.Context, broker *rabbitmq.Broker, out io.Writer) error {
	err := s.publish(ctx, broker,
		order("eu.books", "1"), order("eu.toys", "void"), order("eu.books.used", "2"), order("us.books", "3"))
	if err != nil {
		return err
	}
	report, err := s.handle(ctx, broker, 3)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "EU:", report); err != nil {
		return err
	}
	if err := s.bury(ctx, broker, out); err != nil {
		return err
	}
	report, err = s.handle(ctx, broker, 1)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "EU:", report)
	return err
}

func order(key, what string) brokers.Message {
	return brokers.Message{RoutingKey: key, ID: what, Payload: []byte(what)}
}

// publish returns when the server has all of them. One that no queue is bound for
// is an error.
func (s shop) publish(ctx context.Context, broker brokers.Broker, orders ...brokers.Message) error {
	p, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	for i := range orders {
		orders[i].Topic = s.orders
	}
	_, err = p.Publish(ctx, orders...)
	return errors.Join(err, p.Close(ctx))
}

// handle works off that many orders of the EU, in no order, beside whoever else
// does.
func (s shop) handle(ctx context.Context, broker brokers.Broker, orders int) (actors.Report, error) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	var begun atomic.Int64
	sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: "eu", Broker: broker, Topics: []string{s.orders}, Unordered: true,
		Policy: supervision.Policy{DeadLetter: s.dead},
		Actor: actors.Func(func(_ context.Context, m brokers.Message) error {
			if begun.Add(1) == int64(orders) {
				done() // what was begun is finished
			}
			if string(m.Payload) == "void" {
				return supervision.Permanent(errVoid)
			}
			return nil
		}),
	})
	if err != nil {
		return actors.Report{}, err
	}
	return sys.Run(ctx)
}

// bury lists the dead, and replays what expired as orders of the EU.
func (s shop) bury(ctx context.Context, broker brokers.Broker, out io.Writer) (err error) {
	desk, err := s.open(ctx, broker, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.Close(ctx)) }()
	letters := desk.Letters(deadletters.Filter{})
	slices.SortFunc(letters, func(a, b deadletters.Letter) int { return cmp.Compare(a.Reason, b.Reason) })
	for _, l := range letters {
		_, err := fmt.Fprintf(out, "dead: order %s by %s: %s in %s %s\n", l.Original.ID, l.Original.RoutingKey, l.Reason, l.Group, l.ErrorMessage)
		if err != nil {
			return err
		}
	}
	report, err := desk.Replay(ctx, deadletters.Filter{Reason: "expired"}, deadletters.Options{Change: func(m *brokers.Message) error {
		m.RoutingKey = "eu.from.us"
		return nil
	}})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "replay:", report); err != nil {
		return err
	}
	_, err = desk.Discard(deadletters.Filter{}, false)
	return err
}

// open opens a desk as soon as so many are dead.
func (s shop) open(ctx context.Context, broker brokers.Broker, dead int) (*deadletters.Desk, error) {
	for {
		desk, err := deadletters.Open(ctx, deadletters.Config{
			Broker: broker, Topic: s.dead, Mode: brokers.ModeCompeting, Limit: 1000, Quiet: time.Second,
		})
		if err != nil || len(desk.Letters(deadletters.Filter{})) >= dead {
			return desk, err
		}
		if err := desk.Close(ctx); err != nil {
			return nil, err
		}
	}
}

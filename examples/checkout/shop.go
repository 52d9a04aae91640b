package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/supervision"
)

// The topics, and the groups that read them.
const (
	invoicesTopic  = "invoices"
	stockTopic     = "stock"
	paymentsTopic  = "payments"
	warehouseTopic = "warehouse"
	repliesTopic   = "replies"
	deadTopic      = "dead"
)

// shop is one run.
type shop struct {
	options  options
	invoices []invoice
	log      *zap.Logger
	broker   brokers.Broker
	db       *database
	sagas    *sagas.Runner[order]
	journal  *os.File
	remove   func() error
}

// openShop opens all that the shop needs. Close it.
func openShop(ctx context.Context, o options, invoices []invoice, logger *zap.Logger) (*shop, error) {
	dir, remove, err := temporary(o)
	if err != nil {
		return nil, err
	}
	s := &shop{options: o, invoices: invoices, log: logger, remove: remove}
	if err := s.open(ctx, dir); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *shop) open(ctx context.Context, dir string) (err error) {
	if s.options.journal != "" {
		if s.journal, err = os.OpenFile(s.options.journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return err
		}
	}
	if s.broker, err = openBroker(ctx, s.options.broker, dir); err != nil {
		return err
	}
	for _, topic := range []string{invoicesTopic, stockTopic, paymentsTopic, warehouseTopic, repliesTopic, deadTopic} {
		if err := s.broker.EnsureTopic(ctx, brokers.TopicConfig{Name: s.topic(topic), Partitions: s.options.partitions, Groups: []string{s.topic(topic)}}); err != nil {
			return err
		}
	}
	if s.db, err = openStore(ctx, s.options.store, dir); err != nil {
		return err
	}
	s.sagas, err = sagas.Open(ctx, sagas.Config[order]{
		Definitions: []*sagas.Definition[order]{s.definition()}, Store: s.db.sagas, Name: "shop",
		Replies: s.topic(repliesTopic), DeadLetters: s.topic(deadTopic), Logger: s.log, Observe: s.note,
	})
	return err
}

func (s *shop) close() (err error) {
	if s.sagas != nil {
		err = s.sagas.Close()
	}
	if s.db != nil {
		err = errors.Join(err, s.db.close())
	}
	if s.broker != nil {
		err = errors.Join(err, s.broker.Close())
	}
	if s.journal != nil {
		err = errors.Join(err, s.journal.Close())
	}
	return errors.Join(err, s.remove())
}

// topic is a topic's name, and that of the group that reads it.
func (s *shop) topic(name string) string { return s.options.prefix + name }

func (s *shop) durability() actors.Durability { return actors.Durability{Store: s.db.states} }

// note writes what happened to a saga into the journal: a line is one write, so it
// outlives a kill of the process.
func (s *shop) note(l sagas.Lifecycle) {
	if s.journal == nil {
		return
	}
	if _, err := fmt.Fprintf(s.journal, "%s\t%s\t%s\t%s\n", l.ID, l.What, l.Step, l.Reason); err != nil {
		s.log.Error("journal", zap.Error(err))
	}
}

// system is all that reads topics.
func (s *shop) system() (*actors.System, error) {
	// That a process was killed is no fault of a message.
	policy := supervision.Policy{MaxAttempts: -1, MaxDeliveries: -1, Backoff: supervision.Exponential(10*time.Millisecond, time.Second)}
	replies := s.sagas.Subscription(s.topic(repliesTopic), s.broker)
	replies.Policy.MaxDeliveries = -1
	subscriptions := []actors.Subscription{replies}
	for topic, actor := range map[string]actors.Actor{
		invoicesTopic: s.desk(), stockTopic: s.stock(), paymentsTopic: s.payments(), warehouseTopic: s.warehouse(),
	} {
		subscriptions = append(subscriptions, actors.Subscription{
			Group: s.topic(topic), Broker: s.broker, Topics: []string{s.topic(topic)}, Actor: actor, Policy: policy,
		})
	}
	return actors.NewSystem(actors.Config{Logger: s.log}, subscriptions...)
}

// work publishes the invoices, and ends when all that follows from them is done. It
// tells every second how far that is.
func (s *shop) work(ctx context.Context, tell *log.Logger) (t *totals, err error) {
	system, err := s.system()
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var beside sync.WaitGroup
	for _, source := range s.db.outbox {
		relay, err := outbox.NewRelay(outbox.Config{Source: source, Broker: s.broker, Name: "shop", Logger: s.log})
		if err != nil {
			return nil, err
		}
		beside.Go(func() {
			if err := relay.Run(running); err != nil {
				stop(err)
			}
		})
	}
	beside.Go(func() {
		if _, err := system.Run(running); err != nil {
			stop(err)
		}
	})
	if err = s.publish(running); err == nil {
		t, err = s.await(running, tell)
	}
	if cause := context.Cause(running); cause != nil {
		err = cause
	}
	stop(nil)
	beside.Wait()
	return t, err
}

// publish publishes all invoices, and then for each customer that his season is
// over. What an earlier run has published has the same ids, by which it is known.
func (s *shop) publish(ctx context.Context) error {
	publisher, err := s.broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	going, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	customers := make(map[string]bool)
	send := func(key, kind, id string, body any) error {
		m := brokers.Message{
			Topic: s.topic(invoicesTopic), Key: []byte(key), ID: id, ContentType: "application/json",
			Headers: brokers.Headers{{Key: "type", Value: []byte(kind)}},
		}
		var err error
		if m.Payload, err = json.Marshal(body); err != nil {
			return err
		}
		return publisher.PublishAsync(going, m, func(_ brokers.Receipt, err error) {
			if err != nil {
				fail(fmt.Errorf("publish %s: %w", id, err))
			}
		})
	}
	for n := range s.invoices {
		i := &s.invoices[n]
		if err := send(i.key(), "invoice", "invoice/"+i.No, i); err != nil {
			return errors.Join(err, context.Cause(going))
		}
		if i.Customer != "" {
			customers[i.key()] = true
		}
	}
	for key := range customers {
		if err := send(key, "closed", "closed/"+key, closed{}); err != nil {
			return errors.Join(err, context.Cause(going))
		}
	}
	closing := publisher.Close(going)
	return errors.Join(context.Cause(going), closing)
}

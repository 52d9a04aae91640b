package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/supervision"
)

const (
	bankChild = "TROUPE_TEST_BANK" // the variable that has a role
	accounts  = 20
	opening   = 100_000 // cents of each account
	leaseOf   = 2 * time.Second
)

// role is what a process of the bank does, until it is killed.
type role struct {
	Name           string // writer or member
	Ledger, Broker string
	Topic, Group   string
	Number         int
}

func (r role) run(ctx context.Context) error {
	l, err := openLedger(ctx, r.Ledger)
	for tries := 0; err != nil && tries < 600; tries++ { // it may be down
		pause(ctx, 100*time.Millisecond)
		l, err = openLedger(ctx, r.Ledger)
	}
	if err != nil {
		return err
	}
	if r.Name == "writer" {
		return r.write(ctx, l)
	}
	broker, err := brokers.Open(ctx, r.Broker, kafka.Driver, nats.Driver)
	for tries := 0; err != nil && tries < 600; tries++ {
		pause(ctx, 100*time.Millisecond)
		broker, err = brokers.Open(ctx, r.Broker, kafka.Driver, nats.Driver)
	}
	if err != nil {
		return err
	}
	return r.handle(ctx, l, broker)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// entry is a change of an account, its N-th. A restored backup begins another era:
// what was undone by it has been published, and its numbers are given again.
type entry struct {
	Account, Era, N int
	Cents           int64
}

func (e entry) id(topic string) string {
	return fmt.Sprintf("%s %d/%d/%d", topic, e.Account, e.Era, e.N)
}

func (e entry) message(topic string) (brokers.Message, error) {
	payload, err := json.Marshal(e)
	return brokers.Message{
		Topic: topic, Key: []byte(strconv.Itoa(e.Account)), ID: e.id(topic), Payload: payload,
		Headers: brokers.Headers{{Key: "type", Value: []byte("entry")}},
	}, err
}

var errChangedMind = errors.New("changed my mind")

// write moves money between accounts, one transaction each, and tells both of it.
func (r role) write(ctx context.Context, l *ledger) error {
	for ctx.Err() == nil {
		from, to := rand.IntN(accounts), rand.IntN(accounts-1)
		if to >= from {
			to++
		}
		// What fails is another transfer's chance: the accounts say what was done.
		if err := r.transfer(ctx, l, from, to, 1+rand.Int64N(10_000)); err != nil && !errors.Is(err, errChangedMind) {
			pause(ctx, 20*time.Millisecond)
		}
		pause(ctx, time.Duration(rand.IntN(10))*time.Millisecond)
	}
	return nil
}

func (r role) transfer(ctx context.Context, l *ledger, from, to int, cents int64) error {
	return l.inTx(ctx, func(t tx) error {
		changes := []entry{{Account: from, Cents: -cents}, {Account: to, Cents: cents}}
		if from > to {
			changes[0], changes[1] = changes[1], changes[0] // all lock in one order
		}
		var messages []brokers.Message
		for _, e := range changes {
			err := t.row(fmt.Sprintf(`UPDATE accounts SET cents = cents + (%d), n = n + 1 WHERE id = %d RETURNING n, era`, e.Cents, e.Account), &e.N, &e.Era)
			if err != nil {
				return err
			}
			m, err := e.message(r.Topic)
			if err != nil {
				return err
			}
			messages = append(messages, m)
		}
		if err := t.append(messages...); err != nil {
			return err
		}
		pause(ctx, time.Duration(rand.IntN(5))*time.Millisecond)
		if rand.IntN(10) == 0 {
			return errChangedMind
		}
		return nil
	})
}

// statement is the durable actor of an account: what its entries add up to.
type statement struct {
	N      int
	Cents  int64
	Faults []string
}

func newStatement(string) *statement { return &statement{Cents: opening} }

func (s *statement) entry(ctx *actors.Context, e entry) error {
	if e.N != s.N+1 {
		s.Faults = append(s.Faults, fmt.Sprintf("entry %d after %d", e.N, s.N))
	}
	s.N = e.N
	s.Cents += e.Cents
	if e.N%50 == 0 && ctx.Attempt() == 1 {
		return errFlaky
	}
	return nil
}

// handle publishes what the writers have stored, and keeps the statements.
func (r role) handle(ctx context.Context, l *ledger, broker brokers.Broker) error {
	log := zap.NewNop()
	if os.Getenv("TROUPE_TEST_LOG") != "" {
		var err error
		if log, err = zap.NewDevelopment(); err != nil {
			return err
		}
	}
	statements := actors.Durable(newStatement, actors.Durability{Store: l})
	actors.On(statements, "entry", (*statement).entry)
	sys, err := actors.NewSystem(actors.Config{Logger: log}, actors.Subscription{
		Group: r.Group, Broker: broker, Topics: []string{r.Topic}, Actor: statements,
		Policy: supervision.Policy{MaxAttempts: -1, MaxDeliveries: -1, Backoff: supervision.Exponential(time.Millisecond, 100*time.Millisecond)},
	})
	if err != nil {
		return err
	}
	run, err := l.relays(broker, log)
	if err != nil {
		return err
	}
	run = append(run, func(ctx context.Context) error {
		_, err := sys.Run(ctx)
		return err
	})
	var running sync.WaitGroup
	for _, f := range run {
		running.Go(func() {
			if err := f(ctx); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		})
	}
	running.Wait()
	return nil
}

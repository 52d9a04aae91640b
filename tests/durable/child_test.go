// Package durable kills processes whose actors keep their state in SQLite and in
// PostgreSQL, and those who write to an outbox and publish it, and checks that each
// message has had its effects once.
package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/supervision"
)

// The environment of a child process, which works on a directory until it is done
// or killed.
const childDir = "TROUPE_TEST_DURABLE_DIR"

const (
	keys     = 40
	messages = 4000
	group    = "bank"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := work(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(bankChild); text != "" {
		var r role
		err := json.Unmarshal([]byte(text), &r)
		if err == nil {
			err = r.run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// account is a durable actor. It remembers its movements, in order.
type account struct {
	Balance int
	Seen    []int
}

type movement struct{ Number, Amount int }

// amount of a movement: some are negative, and all are different enough.
func amount(number int) int { return number*7%101 - 50 }

func keyOf(number int) string { return "account " + strconv.Itoa(number%keys) }

var errFlaky = errors.New("flaky")

func (a *account) moved(ctx *actors.Context, m movement) error {
	a.Balance += m.Amount
	a.Seen = append(a.Seen, m.Number)
	if m.Number%97 == 0 && ctx.Attempt() == 1 {
		return errFlaky
	}
	return ctx.Publish("statements", m)
}

// work publishes what has not been published yet, and handles it, until every
// account has seen all and all is on the topic "statements".
func work(dir string) (err error) {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	broker, err := brokers.Open(ctx, "nats://embedded?dir="+filepath.Join(dir, "broker"), embedded.Driver)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "app.db"), sqlite.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, topic := range []string{"movements", "statements"} {
		if err := broker.EnsureTopic(ctx, brokers.TopicConfig{Name: topic, Partitions: 4}); err != nil {
			return err
		}
	}
	accounts := actors.Durable(func(string) *account { return &account{} }, actors.Durability{Store: store})
	actors.On(accounts, "movement", (*account).moved)
	sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
		Group: group, Broker: broker, Topics: []string{"movements"}, Actor: accounts,
		// That a process was killed is no fault of a message.
		Policy: supervision.Policy{MaxAttempts: -1, MaxDeliveries: -1, Backoff: supervision.Exponential(time.Millisecond, 100*time.Millisecond)},
	})
	if err != nil {
		return err
	}
	relay, err := outbox.NewRelay(outbox.Config{Source: store, Broker: broker, Lease: time.Second})
	if err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 2)
	go func() { ended <- relay.Run(running) }()
	go func() {
		_, err := sys.Run(running)
		ended <- err
	}()
	if err := publishAll(ctx, broker); err != nil {
		return err
	}
	err = awaitAll(ctx, store)
	end()
	return errors.Join(err, <-ended, <-ended)
}

// publishAll publishes all movements. Those of an earlier run are published again,
// with the ids that they had: the broker or the inbox knows them.
func publishAll(ctx context.Context, broker brokers.Broker) error {
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	var batch []brokers.Message
	for n := range messages {
		payload, err := json.Marshal(movement{n, amount(n)})
		if err != nil {
			return err
		}
		batch = append(batch, brokers.Message{
			Topic: "movements", Key: []byte(keyOf(n)), ID: fmt.Sprint("movement ", n), Payload: payload,
			Headers: brokers.Headers{{Key: "type", Value: []byte("movement")}},
		})
	}
	_, err = publisher.Publish(ctx, batch...)
	return errors.Join(err, publisher.Close(ctx))
}

// awaitAll waits until every account has seen as much as it should, and the
// outbox is empty.
func awaitAll(ctx context.Context, store *sqlite.Store) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var handled int
		err := store.DB().QueryRowContext(ctx, `SELECT count(*) FROM troupe_inbox`).Scan(&handled)
		if err != nil {
			return err
		}
		lag, err := store.Lag(ctx)
		if err != nil {
			return err
		}
		if handled == messages && lag.Rows == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d handled, %d in the outbox: %w", handled, messages, lag.Rows, context.Cause(ctx))
		}
	}
}

package durable

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox/outboxtest"
	"github.com/troupe-go/troupe/supervision"
)

// consumer is the durable actor of both groups. It adds to its group's sum in a
// table of its own, and emits one message.
type consumer struct{ Handled int }

// add is the part that is the same for each kind of transaction.
func (c *consumer) add(ctx *actors.Context, exec func(statement string) error) error {
	c.Handled++
	err := exec(fmt.Sprintf(`INSERT INTO sums (consumer, total) VALUES ('%s', 5) ON CONFLICT (consumer) DO UPDATE SET total = sums.total + 5`, ctx.Group()))
	if err == nil {
		err = ctx.Publish("emitted by "+ctx.Group(), "m-1 was handled")
	}
	if err == nil && ctx.Group() == "audit" && ctx.Attempt() == 1 {
		return errFlaky
	}
	return err
}

func (c *consumer) addPgx(ctx *actors.Context, tx pgx.Tx, _ string) error {
	return c.add(ctx, func(statement string) error { _, err := tx.Exec(ctx, statement); return err })
}

func (c *consumer) addSQL(ctx *actors.Context, tx *sql.Tx, _ string) error {
	return c.add(ctx, func(statement string) error { _, err := tx.ExecContext(ctx, statement); return err })
}

// Scenario B25: two consumers of one topic with one database each handle a message
// once, with what they write and emit, however often it is delivered, twice at the
// same time too, and though an attempt fails after its writes. One without an id is
// refused.
func TestConsumersShareADatabase(t *testing.T) {
	fresh := func(string) *consumer { return &consumer{} }
	for name, test := range map[string]struct {
		ledger func(t *testing.T) string
		actor  func(d actors.Durability) *actors.Blueprint[consumer]
	}{
		"SQLite": {
			func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "app.db") },
			func(d actors.Durability) *actors.Blueprint[consumer] {
				b := actors.Durable(fresh, d)
				actors.OnWithTx(b, "add", (*consumer).addSQL)
				return b
			},
		},
		"PostgreSQL": {
			func(t *testing.T) string { return outboxtest.PostgresURL(t) },
			func(d actors.Durability) *actors.Blueprint[consumer] {
				b := actors.Durable(fresh, d)
				actors.OnWithTx(b, "add", (*consumer).addPgx)
				return b
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := openLedger(t.Context(), test.ledger(t))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.close() }()
			if err := l.exec(t.Context(), `CREATE TABLE sums (consumer TEXT PRIMARY KEY, total INTEGER NOT NULL)`); err != nil {
				t.Fatal(err)
			}
			consume(t, l, test.actor)
		})
	}
}

func consume(t *testing.T, l *ledger, actor func(actors.Durability) *actors.Blueprint[consumer]) {
	broker := memory.New(memory.Config{Partitions: 4})
	defer func() { _ = broker.Close() }()
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	// Under four keys, of different partitions, so that they come at the same time.
	var all []brokers.Message
	for _, key := range []string{"a", "b", "c", "d"} {
		all = append(all, brokers.Message{
			Topic: "in", Key: []byte(key), ID: "m-1", Payload: []byte(`"x"`), Headers: brokers.Headers{{Key: "type", Value: []byte("add")}},
		})
	}
	nameless := all[0]
	nameless.ID = ""
	if _, err := publisher.Publish(t.Context(), append(all, nameless)...); err != nil {
		t.Fatal(err)
	}
	if err := publisher.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	run := func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	var subscriptions []actors.Subscription
	for _, group := range []string{"billing", "audit"} {
		subscriptions = append(subscriptions, actors.Subscription{
			Group: group, Broker: broker, Topics: []string{"in"}, Actor: actor(actors.Durability{Store: l}),
			Policy: supervision.Policy{Backoff: supervision.Constant(10 * time.Millisecond), DeadLetter: "dead"},
		})
	}
	sys, err := actors.NewSystem(actors.Config{}, subscriptions...)
	if err != nil {
		t.Fatal(err)
	}
	run(func(ctx context.Context) error { _, err := sys.Run(ctx); return err })
	relays, err := l.relays(broker, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for _, relay := range relays {
		run(relay)
	}
	server := broker.Server()
	err = server.Await(ctx, func() bool {
		done := len(server.Messages("dead")) >= 2
		for _, group := range []string{"billing", "audit"} {
			done = done && server.Lag(group, "in") == 0 && len(server.Messages("emitted by "+group)) > 0
		}
		return done
	})
	if err != nil {
		t.Fatal(err)
	}
	for lag := int64(1); lag > 0; { // what else was emitted is published by then
		if lag, err = l.lag(ctx); err != nil {
			t.Fatal(err)
		}
		pause(ctx, 5*time.Millisecond)
	}
	for _, group := range []string{"billing", "audit"} {
		var sum int
		if err := l.row(ctx, `SELECT total FROM sums WHERE consumer = '`+group+`'`, &sum); err != nil || sum != 5 {
			t.Errorf("%s has %d, %v; want 5", group, sum, err)
		}
		ids := make(map[string]bool)
		for _, m := range server.Messages("emitted by " + group) {
			ids[m.ID] = true
		}
		if len(ids) != 1 {
			t.Errorf("%s has emitted %v", group, ids)
		}
	}
	for _, m := range server.Messages("dead") {
		if _, letter, err := supervision.Decode(&m); err != nil || letter.ErrorMessage != actors.ErrNoID.Error() {
			t.Errorf("given up for %q, %v; want only the one without an id", letter.ErrorMessage, err)
		}
	}
}

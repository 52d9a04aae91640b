package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

const durableKeys = 1000

// tally is the state of a key: how many messages it had.
type tally struct{ Count int }

// counted is such a message.
type counted struct{}

const durableMessage = "Counted"

// durableTable has each message change the state of its key, once: as durable
// actors, and in a transaction for each message.
func (d *database) durableTable(o *options) (table, error) {
	_, err := d.pool.Exec(context.Background(), `CREATE TABLE seen (id text PRIMARY KEY); CREATE TABLE tallies (key integer PRIMARY KEY, count bigint NOT NULL)`)
	if err != nil {
		return table{}, err
	}
	n := o.messages(50_000)
	const one = "pgx, a transaction for each message"
	many := fmt.Sprintf("the same, %d at once", connections)
	each := func(goroutines int) prepare {
		return func(n int) (run, clean func() error, err error) {
			var i atomic.Int64
			return func() error {
				return together(goroutines, n, func() error { return d.countOnce(int(i.Add(1))) })
			}, nil, nil
		}
	}
	return o.compete(fmt.Sprintf("Durable state, PostgreSQL, %d keys", durableKeys), []contender{
		{one, "", max(1, n/20), each(1)},
		{many, "", max(1, n/5), each(connections)},
		{"troupe, durable actors", many, n, prepareDurable(d.store)},
	})
}

// countOnce is one round trip.
func (d *database) countOnce(i int) error {
	b := &pgx.Batch{}
	b.Queue(`WITH fresh AS (INSERT INTO seen (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id)
		INSERT INTO tallies (key, count) SELECT $2, 1 FROM fresh ON CONFLICT (key) DO UPDATE SET count = tallies.count + 1`,
		uuid.NewString(), i%durableKeys)
	return d.pool.SendBatch(context.Background(), b).Close()
}

func (l *lite) durableTable(o *options) (table, error) {
	if _, err := l.store.DB().ExecContext(context.Background(), `CREATE TABLE tallies (key INTEGER PRIMARY KEY, count INTEGER NOT NULL)`); err != nil {
		return table{}, err
	}
	n := o.messages(50_000)
	const one = "a transaction for each message"
	return o.compete(fmt.Sprintf("Durable state, SQLite, %d keys", durableKeys), []contender{
		{one, "", max(1, n/10), func(n int) (run, clean func() error, err error) {
			return func() error {
				for i := range n {
					if err := l.countOnce(i); err != nil {
						return err
					}
				}
				return nil
			}, nil, nil
		}},
		{"troupe, durable actors", one, n, prepareDurable(l.store)},
	})
}

func (l *lite) countOnce(i int) error {
	ctx := context.Background()
	return l.store.InTx(ctx, func(tx *sql.Tx) error {
		before, err := l.store.Seen(ctx, tx, "bare", uuid.NewString())
		if err != nil || before {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO tallies (key, count) VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1`, i%durableKeys)
		return err
	})
}

// prepareDurable has the messages in memory, and all else as it is.
func prepareDurable(store durable.Store) prepare {
	return func(n int) (run, clean func() error, err error) {
		topic := "peers-" + uuid.NewString()[:8]
		broker, err := withIDs(topic, n)
		if err != nil {
			return nil, nil, err
		}
		c := newCountdown(n, nil)
		actor := actors.Durable(func(string) *tally { return &tally{} }, actors.Durability{Store: store})
		actors.On(actor, durableMessage, func(t *tally, _ *actors.Context, _ counted) error { t.Count++; return nil })
		// Handled is told when the transaction is committed.
		sys, err := actors.NewSystem(actors.Config{Observe: func(e actors.Event) {
			if _, ok := e.(actors.Handled); ok {
				c.handled()
			}
		}}, actors.Subscription{
			Group: "g", Broker: broker, Topics: []string{topic}, Actor: actor,
			TypeOf: func(*brokers.Message) string { return durableMessage },
		})
		if err != nil {
			return nil, nil, err
		}
		run, stop := running(sys, c)
		return run, func() error { return errors.Join(stop(), broker.Close()) }, nil
	}
}

func withIDs(topic string, n int) (*memory.Broker, error) {
	broker := memory.New(memory.Config{Partitions: 12})
	p, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(counted{})
	if err != nil {
		return nil, err
	}
	keys := keysNamed(durableKeys)
	err = publishAll(p, n, func(i int) brokers.Message {
		return brokers.Message{Topic: topic, ID: uuid.NewString(), Key: keys[i%durableKeys], Payload: payload}
	})
	return broker, errors.Join(err, p.Close(context.Background()))
}

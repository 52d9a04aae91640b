package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
)

const (
	drainBatch = 500
	fewRows    = 3000
	manyRows   = 3_000_000
	fillBatch  = 1000
)

const bareDrain = "pgx, delete-returning loop"

// drainFew drains what few rows wait, always as many: with a batch or less it would
// be the relay's taking of the lease that is measured. drainMany drains some of very
// many, so that no more than that is drained in all rounds.
func (d *database) drainFew(o *options) (table, error) {
	const n = fewRows
	contenders := []contender{
		{bareDrain, "", n, d.prepareBareDrain(true)},
		{"troupe, relay", bareDrain, n, d.prepareRelay(true)},
	}
	for _, w := range watermillSchemas() {
		contenders = append(contenders, contender{w.name, bareDrain, n, d.prepareForwarder(w)})
	}
	return o.compete(fmt.Sprintf("Drain the outbox, PostgreSQL, %d rows, to a target that does nothing", n), contenders)
}

func (d *database) drainMany(o *options) (t table, err error) {
	rows := max(2*drainBatch*o.rounds, o.messages(manyRows))
	n := max(drainBatch, min(o.messages(30_000), rows/(2*o.rounds)))
	if err := d.fillBare(rows); err != nil {
		return table{}, err
	}
	if err := d.fill(rows); err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, d.clear()) }()
	return o.compete(fmt.Sprintf("Drain the outbox, PostgreSQL, with %d rows behind, to a target that does nothing", rows), []contender{
		{bareDrain, "", n, d.prepareBareDrain(false)},
		{"troupe, relay", bareDrain, n, d.prepareRelay(false)},
	})
}

// fillBare makes the table of the bare loop, anew.
func (d *database) fillBare(n int) error {
	ctx := context.Background()
	_, err := d.pool.Exec(ctx, `DROP TABLE IF EXISTS bare; CREATE TABLE bare (id bigserial PRIMARY KEY, topic text, uuid text, key bytea, payload bytea)`)
	if err != nil {
		return err
	}
	_, err = d.pool.Exec(ctx, `INSERT INTO bare (topic, uuid, key, payload)
		SELECT 'orders', gen_random_uuid()::text, ('key-' || i % $2)::bytea, $3 FROM generate_series(1, $1) i`, n, rowKeys, d.body)
	return err
}

// fill appends.
func (d *database) fill(n int) error {
	ctx := context.Background()
	for from := 0; from < n; from += fillBatch {
		err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
			var messages []brokers.Message
			for i := from; i < min(from+fillBatch, n); i++ {
				messages = append(messages, d.message(i))
			}
			return d.store.Append(ctx, tx, messages...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// prepareBareDrain is as quick as it can be, and not right: what was published is
// published again, out of order, when a transaction fails, and a row that becomes
// visible late comes late.
func (d *database) prepareBareDrain(fresh bool) prepare {
	return func(n int) (run, clean func() error, err error) {
		if fresh {
			if err := d.fillBare(n); err != nil {
				return nil, nil, err
			}
		}
		run = func() error {
			for done := 0; done < n; {
				got, err := d.drainOnce()
				if err != nil {
					return err
				}
				done += got
			}
			return nil
		}
		return run, nil, nil
	}
}

func (d *database) drainOnce() (n int, err error) {
	ctx := context.Background()
	err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `DELETE FROM bare WHERE id IN (SELECT id FROM bare ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
			RETURNING id, topic, uuid, key, payload`, drainBatch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			var m brokers.Message
			if err := rows.Scan(&id, &m.Topic, &m.ID, &m.Key, &m.Payload); err != nil {
				return err
			}
			n++
		}
		return rows.Err()
	})
	return n, err
}

func (d *database) prepareRelay(fresh bool) prepare {
	return func(n int) (run, clean func() error, err error) {
		if fresh {
			if err := errors.Join(d.clear(), d.fill(n)); err != nil {
				return nil, nil, err
			}
		}
		c := newCountdown(n, nil)
		broker := newNowhere(func(*brokers.Message) { c.handled() })
		relay, err := outbox.NewRelay(outbox.Config{Source: d.store.Shards()[0], Broker: broker, Batch: drainBatch})
		if err != nil {
			return nil, nil, err
		}
		run, clean = c.during(relay.Run, broker.Close)
		return run, clean, nil
	}
}

// watermillSchema is one of the ways in which Watermill keeps an outbox.
type watermillSchema struct {
	name    string
	schema  wmsql.SchemaAdapter
	offsets wmsql.OffsetsAdapter
}

func watermillSchemas() []watermillSchema {
	binary := func(string) string { return "BYTEA" }
	return []watermillSchema{
		{
			"watermill-sql, default schema",
			wmsql.DefaultPostgreSQLSchema{GeneratePayloadType: binary, SubscribeBatchSize: 100},
			wmsql.DefaultPostgreSQLOffsetsAdapter{},
		},
		{
			"watermill-sql, queue schema",
			wmsql.PostgreSQLQueueSchema{GeneratePayloadType: binary, SubscribeBatchSize: 100},
			wmsql.PostgreSQLQueueOffsetsAdapter{DeleteOnAck: true},
		},
	}
}

func (d *database) prepareForwarder(w watermillSchema) prepare {
	return func(n int) (run, clean func() error, err error) {
		topic := "wm" + uuid.NewString()[:8]
		if err := d.fillWatermill(w, topic, n); err != nil {
			return nil, nil, err
		}
		subscriber, err := wmsql.NewSubscriber(wmsql.BeginnerFromPgx(d.pool), wmsql.SubscriberConfig{
			SchemaAdapter: w.schema, OffsetsAdapter: w.offsets, InitializeSchema: true, PollInterval: 10 * time.Millisecond,
		}, watermill.NopLogger{})
		if err != nil {
			return nil, nil, err
		}
		router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
		if err != nil {
			return nil, nil, err
		}
		c := newCountdown(n, nil)
		router.AddConsumerHandler("forwarder", topic, subscriber, func(*message.Message) error { c.handled(); return nil })
		run, clean = c.during(router.Run, subscriber.Close)
		return run, clean, nil
	}
}

func (d *database) fillWatermill(w watermillSchema, topic string, n int) error {
	publisher, err := wmsql.NewPublisher(wmsql.BeginnerFromPgx(d.pool), wmsql.PublisherConfig{
		SchemaAdapter: w.schema, AutoInitializeSchema: true,
	}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	for from := 0; from < n; from += fillBatch {
		var messages []*message.Message
		for range min(fillBatch, n-from) {
			messages = append(messages, message.NewMessage(watermill.NewUUID(), d.body))
		}
		if err := publisher.Publish(topic, messages...); err != nil {
			return err
		}
	}
	return publisher.Close()
}

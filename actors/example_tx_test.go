package actors_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox/sqlite"
)

// till is a durable actor whose entries are in a table of its own.
type till struct{ Total int }

type sale struct{ Pounds int }

func (t *till) sold(ctx *actors.Context, tx *sql.Tx, s sale) error {
	t.Total += s.Pounds
	_, err := tx.ExecContext(ctx, `INSERT INTO entries VALUES (?, ?)`, ctx.Key(), s.Pounds)
	return err
}

// A handler writes to a table in the transaction of its state: the message that comes
// twice is booked once.
func ExampleOnWithTx() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "app.db"), sqlite.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	if _, err := store.DB().ExecContext(ctx, `CREATE TABLE entries (till TEXT, pounds INTEGER)`); err != nil {
		fmt.Println(err)
		return
	}
	tills := actors.Durable(func(string) *till { return &till{} }, actors.Durability{Store: store})
	actors.OnWithTx(tills, "sale", (*till).sold)
	broker := memory.New(memory.Config{})
	defer func() { _ = broker.Close() }()
	sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{Group: "shop", Broker: broker, Topics: []string{"sales"}, Actor: tills})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error, 1)
	go func() { _, err := sys.Run(ctx); ended <- err }()

	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	m := brokers.Message{Topic: "sales", Key: []byte("till 3"), ID: "sale 1", Payload: []byte(`{"Pounds": 5}`)}
	m.Headers = brokers.Headers{{Key: "type", Value: []byte("sale")}}
	_, err = publisher.Publish(ctx, m, m)
	if err := errors.Join(err, publisher.Close(ctx)); err != nil {
		fmt.Println(err)
		return
	}
	if err := broker.Server().Await(ctx, func() bool { return broker.Server().Lag("shop", "sales") == 0 }); err != nil {
		fmt.Println(err)
	}
	stop()
	if err := <-ended; err != nil {
		fmt.Println(err)
	}
	var entries int
	if err := store.DB().QueryRowContext(context.Background(), `SELECT count(*) FROM entries`).Scan(&entries); err != nil {
		fmt.Println(err)
	}
	record, err := store.Load(context.Background(), durable.Scope{Group: "shop", Topic: "sales"}, "till 3")
	fmt.Println(entries, string(record.State), err)
	// Output: 1 {"Total":5} <nil>
}

package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/sqlite"
)

// temporary is a database that goes when the example ends.
func temporary(ctx context.Context, cfg sqlite.Config) (s *sqlite.Store, remove func(), err error) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		return nil, nil, err
	}
	s, err = sqlite.Open(ctx, filepath.Join(dir, "app.db"), cfg)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, func() {
		if err := errors.Join(s.Close(), os.RemoveAll(dir)); err != nil {
			fmt.Println(err)
		}
	}, nil
}

// A message is stored with what it tells of, and a relay publishes it. Its topic is
// that of its type.
func ExampleStore_InTx() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	store, remove, err := temporary(ctx, sqlite.Config{Route: func(messageType string) string { return messageType + "s" }})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	broker := memory.New(memory.Config{})
	defer func() { _ = broker.Close() }()
	relay, err := outbox.NewRelay(outbox.Config{Source: store, Broker: broker})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx) }()

	err = store.InTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `CREATE TABLE invoices (id TEXT, total INTEGER)`)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO invoices VALUES ('7', 120)`); err != nil {
			return err
		}
		return store.Append(ctx, tx, brokers.Message{
			ID: "invoice 7", Key: []byte("Jane"), Payload: []byte(`{"total": 120}`),
			Headers: brokers.Headers{{Key: "type", Value: []byte("invoice")}},
		})
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	published := func() bool { return len(broker.Server().Messages("invoices")) > 0 }
	if err := broker.Server().Await(ctx, published); err != nil {
		fmt.Println(err)
	}
	stop()
	fmt.Println(broker.Server().Messages("invoices")[0].ID, <-ended)
	// Output: invoice 7 <nil>
}

// A consumer that knows a message again changes nothing.
func ExampleStore_Seen() {
	ctx := context.Background()
	store, remove, err := temporary(ctx, sqlite.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remove()
	for range 2 {
		err := store.InTx(ctx, func(tx *sql.Tx) error {
			before, err := store.Seen(ctx, tx, "billing", "invoice 7")
			if err != nil || before {
				return err
			}
			fmt.Println("booked")
			return nil // after changes in tx
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output: booked
}

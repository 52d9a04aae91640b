package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
	"github.com/troupe-go/troupe/outbox"
	outboxpostgres "github.com/troupe-go/troupe/outbox/postgres"
	outboxsqlite "github.com/troupe-go/troupe/outbox/sqlite"
	"github.com/troupe-go/troupe/sagas"
	"github.com/troupe-go/troupe/sagas/postgres"
	"github.com/troupe-go/troupe/sagas/sqlite"
)

// openBroker opens the broker of a DSN. Without one it is JetStream within this
// process, in a directory.
func openBroker(ctx context.Context, dsn, dir string) (brokers.Broker, error) {
	if dsn == "" {
		dsn = "nats://embedded?dir=" + url.QueryEscape(filepath.Join(dir, "broker"))
	}
	return brokers.Open(ctx, dsn, memory.Driver, nats.Driver, embedded.Driver, kafka.Driver, rabbitmq.Driver)
}

// database keeps the sagas, the states of the participants and the outbox of both.
type database struct {
	sagas  sagas.Store
	states durable.Store
	outbox []outbox.Source
	close  func() error
}

// openStore opens what -store names; without it SQLite in a directory.
func openStore(ctx context.Context, name, dir string) (*database, error) {
	if strings.HasPrefix(name, "postgres://") {
		return openPostgres(ctx, name)
	}
	if name == "" {
		name = filepath.Join(dir, "shop.db")
	}
	db, err := outboxsqlite.Open(ctx, name, outboxsqlite.Config{})
	if err != nil {
		return nil, err
	}
	store, err := sqlite.New(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &database{store, db, []outbox.Source{db}, db.Close}, nil
}

func openPostgres(ctx context.Context, url string) (*database, error) {
	db, err := outboxpostgres.Open(ctx, url, outboxpostgres.Config{})
	if err != nil {
		return nil, err
	}
	store, err := postgres.New(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	d := &database{store, db, nil, db.Close}
	for _, shard := range db.Shards() {
		d.outbox = append(d.outbox, shard)
	}
	return d, nil
}

// temporary makes a directory, if one is needed, that is removed in the end.
func temporary(o options) (dir string, remove func() error, err error) {
	if o.broker != "" && o.store != "" {
		return "", func() error { return nil }, nil
	}
	dir, err = os.MkdirTemp("", "checkout")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

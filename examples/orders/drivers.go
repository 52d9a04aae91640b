package main

import (
	"context"
	"errors"
	"net/url"
	"os"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// drivers are the brokers that -broker can name.
func drivers() []brokers.Driver {
	return []brokers.Driver{memory.Driver, nats.Driver, embedded.Driver, kafka.Driver, rabbitmq.Driver}
}

// openBroker opens the broker of a DSN. Without one it is JetStream within this
// process, in a directory that goes when it is closed.
func openBroker(ctx context.Context, dsn string) (brokers.Broker, error) {
	if dsn != "" {
		return brokers.Open(ctx, dsn, drivers()...)
	}
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		return nil, err
	}
	broker, err := brokers.Open(ctx, "nats://embedded?dir="+url.QueryEscape(dir), drivers()...)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return temporary{broker, dir}, nil
}

// temporary is a broker that leaves nothing.
type temporary struct {
	brokers.Broker

	dir string
}

func (t temporary) Close() error {
	return errors.Join(t.Broker.Close(), os.RemoveAll(t.dir))
}

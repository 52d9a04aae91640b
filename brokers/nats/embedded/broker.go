// Package embedded is the driver for a NATS JetStream server that runs in this
// process, listens on no port and keeps its messages in a directory: a durable
// broker with nothing to install. It is the only package that links nats-server.
//
// Delivery, order and storage are those of package nats. What a crash leaves is
// said at [Sync].
package embedded

import (
	"context"
	"errors"
	"sync"

	client "github.com/nats-io/nats.go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// Broker is a server and a connection to it. See [brokers.Broker].
type Broker struct {
	*nats.Broker

	server *Server
	once   sync.Once
	err    error
}

var _ brokers.Broker = (*Broker)(nil)

// Open starts a server and connects to it.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	s, err := Start(cfg)
	if err != nil {
		return nil, &brokers.OpenError{Endpoint: "embedded:" + cfg.Dir, Step: "start", Err: err}
	}
	conn := cfg.NATS
	conn.Options = append(conn.Options[:len(conn.Options):len(conn.Options)], client.InProcessServer(s))
	b, err := nats.Open(ctx, conn)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &Broker{Broker: b, server: s}, nil
}

// Server returns the server, for further connections.
func (b *Broker) Server() *Server { return b.server }

// Close closes the connection, then the server, and waits until it has ended.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.err = errors.Join(b.Broker.Close(), b.server.Close())
	})
	return b.err
}

package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// DefaultExchange is the server's exchange without a name, which has every queue
// bound by the queue's name: as Message.Topic with RoutingKey, and in a
// [Topology]. The server itself knows it as "".
const DefaultExchange = "amq.default"

// Topology is exchanges, queues and bindings as data, for what is no topic of
// partitions: what other programs publish to or read, work queues, dead letters.
// Messages are published to it with Message.Topic an exchange and RoutingKey.
type Topology struct {
	Exchanges []ExchangeConfig
	Queues    []QueueConfig
	Bindings  []BindingConfig
}

// TopologyMode is what may be done about a topology.
type TopologyMode uint8

const (
	// TopologyCheck: nothing. Exchanges and queues must be there, as described.
	TopologyCheck TopologyMode = iota
	// TopologyDeclare: what is missing is made, and what is there is checked.
	TopologyDeclare
	// TopologyLeave: nothing is asked either, as when somebody else looks after
	// the server.
	TopologyLeave
)

// PlanTopology says what ApplyTopology with TopologyDeclare would do: a dry run.
// It changes nothing on the server.
func (b *Broker) PlanTopology(ctx context.Context, t Topology) (TopologyChange, error) {
	if err := t.validate(); err != nil {
		return TopologyChange{}, err
	}
	var change TopologyChange
	err := b.administer(ctx, func(conn *connection) (err error) {
		change, err = b.compareTopology(conn, t)
		return err
	})
	return change, err
}

// ApplyTopology brings the server to have a topology, as far as mode allows; else
// the error is a [*TopologyMismatchError], and nothing was made. AMQP alters
// nothing that exists: another argument needs another name, the deletion of what
// is there, or a policy at the server.
//
// What was declared is declared again on each new connection of the broker,
// before anything is published or consumed there. A fault of that shows in
// Health, and the connection is used all the same.
//
// It waits for a server that does not answer until ctx ends. An error wraps
// [brokers.ErrInvalid] and names the field, or [brokers.ErrUnsupported] if the
// server lacks a kind of exchange.
func (b *Broker) ApplyTopology(ctx context.Context, t Topology, mode TopologyMode) (TopologyChange, error) {
	if err := t.validate(); err != nil || mode == TopologyLeave {
		return TopologyChange{}, err
	}
	var change TopologyChange
	err := b.administer(ctx, func(conn *connection) (err error) {
		if change, err = b.compareTopology(conn, t); err != nil {
			return err
		}
		if change.refuses(mode) {
			return &TopologyMismatchError{change}
		}
		if mode == TopologyCheck {
			return nil
		}
		return b.declareTopology(conn, t)
	})
	if err == nil && mode == TopologyDeclare {
		b.declared.add(t)
	}
	return change, err
}

// administer does something on a connection of its own, as what a server does not
// know closes it. It waits for the server until ctx ends.
func (b *Broker) administer(ctx context.Context, do func(*connection) error) error {
	for failures := 0; ; failures++ {
		err := b.administerOnce(ctx, do)
		if err == nil || !unanswered(err) {
			return err
		}
		if !b.control.pause(ctx, failures) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		if b.control.ctx.Err() != nil {
			return brokers.ErrClosed
		}
	}
}

func (b *Broker) administerOnce(ctx context.Context, do func(*connection) error) error {
	if b.control.ctx.Err() != nil {
		return brokers.ErrClosed
	}
	conn, err := newLink(&b.cfg, "topology").dial(ctx)
	if err != nil {
		return err
	}
	defer conn.shut()
	stop := context.AfterFunc(ctx, func() { _ = conn.line.Close() }) // the client knows no context
	defer stop()
	return do(conn)
}

// compareTopology says what of a topology the server lacks.
func (b *Broker) compareTopology(conn *connection, t Topology) (TopologyChange, error) {
	var change TopologyChange
	for _, d := range b.declarations(t) {
		if err := d.compare(conn, &change); err != nil {
			return TopologyChange{}, fmt.Errorf("rabbitmq: %s %q: %w", d.what, d.name, err)
		}
	}
	for _, to := range t.Bindings {
		change.Bindings = append(change.Bindings, to.String())
	}
	return change, nil
}

// declareTopology makes what is missing. What differs by now, as somebody else
// was there in between, is a *TopologyMismatchError.
func (b *Broker) declareTopology(conn *connection, t Topology) error {
	for _, d := range b.declarations(t) {
		if d.foreign {
			continue
		}
		err := conn.with(d.declare)
		if c, ok := complaintOf(err); ok {
			return &TopologyMismatchError{TopologyChange{Differences: []TopologyDifference{d.difference(c)}}}
		}
		if err != nil {
			return fmt.Errorf("rabbitmq: %s %q: %w", d.what, d.name, unknownKind(err))
		}
	}
	return conn.with(func(ch *amqp.Channel) error {
		for _, to := range t.Bindings {
			if err := to.bind(ch, t.kindOf(to.Exchange)); err != nil {
				return fmt.Errorf("rabbitmq: %s: %w", to, err)
			}
		}
		return nil
	})
}

// declarations are the exchanges and queues of a topology, in that order.
func (b *Broker) declarations(t Topology) []*declaration {
	var all []*declaration
	for i := range t.Exchanges {
		all = append(all, t.Exchanges[i].declaration())
	}
	for i := range t.Queues {
		all = append(all, t.Queues[i].declaration(b.server))
	}
	return all
}

// kindOf is the kind of an exchange, if the topology describes it.
func (t *Topology) kindOf(exchange string) ExchangeKind {
	for i := range t.Exchanges {
		if t.Exchanges[i].Name == exchange {
			return t.Exchanges[i].Kind
		}
	}
	return ""
}

func (t *Topology) validate() error {
	seen := map[string]bool{}
	for i := range t.Exchanges {
		x := &t.Exchanges[i]
		if err := x.validate(); err != nil {
			return err
		}
		if seen["x"+x.Name] {
			return fmt.Errorf("%w: Topology.Exchanges has %q twice", brokers.ErrInvalid, x.Name)
		}
		seen["x"+x.Name] = true
	}
	for i := range t.Queues {
		q := &t.Queues[i]
		if err := q.validate(); err != nil {
			return err
		}
		if seen["q"+q.Name] {
			return fmt.Errorf("%w: Topology.Queues has %q twice", brokers.ErrInvalid, q.Name)
		}
		seen["q"+q.Name] = true
	}
	for i := range t.Bindings {
		if err := t.Bindings[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

// clone shares no slices with t.
func (t Topology) clone() Topology {
	return Topology{slices.Clone(t.Exchanges), slices.Clone(t.Queues), slices.Clone(t.Bindings)}
}

// unknownKind says so if the server lacks an exchange's kind.
func unknownKind(err error) error {
	var said *amqp.Error
	if errors.As(err, &said) && said.Server && kindUnknown.MatchString(said.Reason) {
		return fmt.Errorf("%w: ExchangeConfig.Kind: the server has no plugin for it: %w", brokers.ErrUnsupported, err)
	}
	return err
}

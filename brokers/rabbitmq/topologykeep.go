package rabbitmq

import (
	"context"
	"sync"
)

// declaredTopologies are what ApplyTopology has declared, to be declared again.
type declaredTopologies struct {
	mu  sync.Mutex
	all []Topology
	err error // why the last time failed
}

func (d *declaredTopologies) add(t Topology) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, t.clone())
}

func (d *declaredTopologies) list() []Topology {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[:len(d.all):len(d.all)]
}

func (d *declaredTopologies) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// fault is why what was declared is not, as far as is known.
func (d *declaredTopologies) fault() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// redeclare is done before a new connection is used. An error means that the
// server did not answer; what it refuses shows in Health.
func (b *Broker) redeclare(ctx context.Context) error {
	all := b.declared.list()
	if len(all) == 0 {
		return nil
	}
	err := b.administerOnce(ctx, func(conn *connection) error {
		for _, t := range all {
			if err := b.declareTopology(conn, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && unanswered(err) {
		return err
	}
	b.declared.note(err)
	return nil
}

package kafka

import (
	"context"
	"fmt"
	"sync"

	"github.com/segmentio/kafka-go/protocol/findcoordinator"
)

// coordinatorKind is what a node coordinates.
type coordinatorKind int8

const (
	groupCoordinator       coordinatorKind = 0
	transactionCoordinator coordinatorKind = 1
)

type coordinated struct {
	kind coordinatorKind
	name string
}

// coordinators are those that were asked for. The zero value knows none.
type coordinators struct {
	mu    sync.Mutex
	nodes map[coordinated]int32
}

// coordinator returns the node that coordinates a group or the transactions of
// an id.
func (c *client) coordinator(ctx context.Context, kind coordinatorKind, name string) (int32, error) {
	key := coordinated{kind, name}
	c.coordinators.mu.Lock()
	node, ok := c.coordinators.nodes[key]
	c.coordinators.mu.Unlock()
	if ok {
		return node, nil
	}
	answer, err := c.do(ctx, anyNode, &findcoordinator.Request{Key: name, KeyType: int8(kind)}, c.cfg.RequestTimeout)
	if err != nil {
		return 0, err
	}
	found := answer.(*findcoordinator.Response)
	if err := codeError(found.ErrorCode); err != nil {
		return 0, fmt.Errorf("kafka: coordinator of %q: %w", name, err)
	}
	c.metadata.noteNode(found.NodeID, found.Host, found.Port)
	c.coordinators.mu.Lock()
	defer c.coordinators.mu.Unlock()
	if c.coordinators.nodes == nil {
		c.coordinators.nodes = map[coordinated]int32{}
	}
	c.coordinators.nodes[key] = found.NodeID
	return found.NodeID, nil
}

// forgetCoordinator has the cluster asked again: after the coordinator said that
// it is not the one, or did not answer.
func (c *client) forgetCoordinator(kind coordinatorKind, name string) {
	c.coordinators.mu.Lock()
	defer c.coordinators.mu.Unlock()
	delete(c.coordinators.nodes, coordinated{kind, name})
}

// atCoordinator calls do, which asks the coordinator of that name, until it
// succeeds or fails for a reason that does not pass, or ctx ends. After each
// failure the coordinator is looked for anew.
func (c *client) atCoordinator(ctx context.Context, kind coordinatorKind, name string, do func() error) error {
	return c.retry(ctx, func() error {
		err := do()
		if err != nil {
			c.forgetCoordinator(kind, name)
		}
		return err
	})
}

package rabbitmq

import (
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// errDropsRejected says that what is rejected would be lost, for all that can be seen.
var errDropsRejected = errors.New("it has no dead-letter exchange, and drops what is rejected: make it with one, " +
	"or name it in Config.PolicyDeadLetters if a policy sets that or the user may not see it")

// checkRejects refuses to reject what comes from queues that the driver makes
// without a dead-letter exchange, or has the server make.
func (b *Broker) checkRejects(cfg brokers.SubscriptionConfig, topic string) error {
	if !cfg.Rejects {
		return nil
	}
	const at = "SubscriptionConfig.Rejects"
	switch q, mapped := b.cfg.Queues[topic]; {
	case !mapped && b.cfg.DeadLetter.Exchange == "":
		return fmt.Errorf("%w: %s: topic %q: rabbitmq.Config.DeadLetter is not set, and the group's queues would drop what is rejected", brokers.ErrInvalid, at, topic)
	case mapped && q.Name == "":
		return fmt.Errorf("%w: %s: topic %q: a queue that the server names drops what is rejected", brokers.ErrInvalid, at, topic)
	}
	return nil
}

// checkLimited is checkDeadLetters for the group's queues that are taken as they are.
func (s *subscription) checkLimited(topic string, partitions int) error {
	var queues []string
	if s.competes() {
		queues = append(queues, competingQueue(topic, s.cfg.Group))
	} else {
		for id := range partitions {
			queues = append(queues, groupQueue(topic, s.cfg.Group, id))
		}
	}
	for _, queue := range queues {
		if !slices.Contains(s.b.cfg.LimitedQueues, queue) {
			continue
		}
		if err := s.checkDeadLetters(queue); err != nil {
			return err
		}
	}
	return nil
}

// checkDeadLetters refuses to reject what comes from a queue that the driver has not
// made, and that has no dead-letter exchange.
func (s *subscription) checkDeadLetters(queue string) error {
	if !s.cfg.Rejects || slices.Contains(s.b.cfg.PolicyDeadLetters, queue) {
		return nil
	}
	// What the server says differs from this is what the queue has.
	asked := QueueConfig{Name: queue, DeadLetter: DeadLetter{Exchange: "troupe.asks.for.none"}}
	var change TopologyChange
	err := s.b.administer(s.ctx, func(conn *connection) error {
		return asked.declaration(s.b.server).compare(conn, &change)
	})
	if err != nil {
		return fmt.Errorf("rabbitmq: queue %q: its dead-letter exchange: %w", queue, err)
	}
	for _, d := range change.Differences {
		if d.Argument == deadExchangeArgument && d.Have != none {
			return nil
		}
	}
	return fmt.Errorf("rabbitmq: queue %q: %w", queue, errDropsRejected)
}

package rabbitmq

import (
	"errors"
	"fmt"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// Queue is a queue that competing consumers read under a topic's name: see
// [Config.Queues]. A [brokers.Message] of it has that name as Topic; where it was
// published is in [Delivery].
type Queue struct {
	// Name of a queue that is there, of whatever kind. Empty has the server make
	// and name one for each member, over each connection anew: it goes with the
	// connection, and what lies in it then is lost.
	Name string
	// Bindings of a queue that the server names: their Queue is empty. Required for
	// one, and no other has any.
	Bindings []BindingConfig
}

var (
	errUnbound = errors.New("no Name and no Bindings: nothing would come")
	errBound   = errors.New("a Name and Bindings: these are for queues that the server names, and ApplyTopology binds others")
	errBinding = errors.New("in Bindings one has a Queue or ToExchange")
)

func (q *Queue) validate() error {
	switch {
	case q.Name == "" && len(q.Bindings) == 0:
		return errUnbound
	case q.Name != "" && len(q.Bindings) > 0:
		return errBound
	case len(q.Name) > maxName:
		return tooLong("Name", q.Name)
	}
	for _, b := range q.Bindings {
		if b.Queue != "" || b.ToExchange != "" {
			return errBinding
		}
		b.Queue = "named by the server"
		if err := b.validate(); err != nil {
			return err
		}
	}
	return nil
}

// competingQueue is what the members of a competing group read of a topic.
func competingQueue(topic, group string) string { return topic + "." + group + ".all" }

// competes says whether the members exclude nobody.
func (s *subscription) competes() bool { return s.cfg.Mode == brokers.ModeCompeting }

// source is what a feed consumes from.
type source struct {
	queue Queue
	// partitions of the topic, where the queue is one of a topic's.
	partitions int
}

// source is where the messages of a slot lie.
func (s *subscription) source(slot balance.Slot) source {
	if q, mapped := s.b.cfg.Queues[slot.Topic]; mapped {
		return source{queue: q}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from := source{partitions: s.topics[slot.Topic]}
	from.queue.Name = groupQueue(slot.Topic, s.cfg.Group, int(slot.Partition))
	if s.competes() {
		from.queue.Name = competingQueue(slot.Topic, s.cfg.Group)
	}
	return from
}

// declare makes a queue that the server names, and returns the name. It is ch's
// connection's own.
func (f source) declare(ch *amqp.Channel) (string, error) {
	if f.queue.Name != "" {
		return f.queue.Name, nil
	}
	q, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic})
	if err != nil {
		return "", err
	}
	for _, b := range f.queue.Bindings {
		b.Queue = q.Name
		if err := b.bind(ch, ""); err != nil {
			return "", fmt.Errorf("%s: %w", &b, err)
		}
	}
	return q.Name, nil
}

// declareCompeting makes the queue of a competing group, and binds it.
func (b *Broker) declareCompeting(ch *amqp.Channel, topic, group string, partitions int) error {
	queue := competingQueue(topic, group)
	if err := b.declareGroupQueue(ch, queue, b.groupArguments(false)); err != nil {
		return fmt.Errorf("rabbitmq: queue %q: %w", queue, err)
	}
	for id := range partitions {
		if err := ch.QueueBind(queue, strconv.Itoa(id), topic, false, nil); err != nil {
			return fmt.Errorf("rabbitmq: queue %q: bind to %q: %w", queue, topic, err)
		}
	}
	return nil
}

// joinQueue looks for a queue of others.
func (s *subscription) joinQueue(topic string, q Queue) error {
	if q.Name != "" {
		err := s.b.control.do(s.ctx, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(q.Name, true, false, false, false, nil)
			return err
		})
		if hasCode(err, amqp.NotFound) {
			return fmt.Errorf("%w: %q: there is no queue %q", brokers.ErrUnknownTopic, topic, q.Name)
		}
		if err != nil {
			return fmt.Errorf("rabbitmq: queue %q: %w", q.Name, err)
		}
		if err := s.checkDeadLetters(q.Name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[topic] = 1
	return nil
}

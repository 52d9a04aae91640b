package rabbitmq

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

const (
	defaultPartitions = 12
	maxPartitions     = 10_000
	maxName           = 255 // bytes of any name in AMQP
)

// countQueue is where a topic's partition count is stored, as the length limit
// of a queue that nothing is bound to: the server makes and checks it in one
// step, and says what it is to who asks for another. Its answers are cut after 255
// bytes, so the name of a topic with a long one is a hash.
func countQueue(topic string) string {
	const enough = 64
	if len(topic) > enough {
		sum := sha256.Sum256([]byte(topic))
		topic = "troupe." + hex.EncodeToString(sum[:16])
	}
	return topic + ".partitions"
}

func groupQueue(topic, group string, partition int) string {
	return topic + "." + group + ".p" + strconv.Itoa(partition)
}

// topics knows how many partitions topics have.
type topics struct {
	b *Broker

	mu    sync.Mutex
	known map[string]int
}

// get returns a partition count, from memory where it can.
func (t *topics) get(ctx context.Context, name string) (int, error) {
	t.mu.Lock()
	n, ok := t.known[name]
	t.mu.Unlock()
	if ok {
		return n, nil
	}
	if name == DefaultExchange {
		return 1, nil
	}
	if len(name) > maxName {
		return 0, tooLong("Message.Topic", name)
	}
	n, err := t.ask(ctx, name)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[name] = n
	return n, nil
}

// forget has the server asked again.
func (t *topics) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, name)
}

// ask asks the server. An exchange that is no topic of ours has one partition.
func (t *topics) ask(ctx context.Context, name string) (int, error) {
	err := t.b.control.do(ctx, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeDirect, true, false, false, false, nil)
	})
	if hasCode(err, amqp.NotFound) {
		return 0, fmt.Errorf("%w: %q", brokers.ErrUnknownTopic, name)
	}
	if err != nil && !hasCode(err, amqp.PreconditionFailed) { // which says that it is of another type
		return 0, fmt.Errorf("rabbitmq: exchange %q: %w", name, err)
	}
	err = t.b.control.do(ctx, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(countQueue(name), true, false, false, false, nil)
		return err
	})
	if hasCode(err, amqp.NotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("rabbitmq: topic %q: %w", name, err)
	}
	// No topic has that many, so the server says how many it has.
	return t.count(ctx, name, math.MaxInt32, (*declaration).probe)
}

// own returns how many partitions a topic has. An exchange of others is none.
func (t *topics) own(ctx context.Context, name string) (int, error) {
	n, err := t.get(ctx, name)
	if err != nil || n > 1 {
		return n, err
	}
	err = t.b.control.do(ctx, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(countQueue(name), true, false, false, false, nil)
		return err
	})
	if hasCode(err, amqp.NotFound) {
		t.forget(name)
		return 0, fmt.Errorf("rabbitmq: exchange %q was not made as a topic: there is no queue %q", name, countQueue(name))
	}
	return n, err
}

// count asks for a topic of n partitions and returns how many it has.
func (t *topics) count(ctx context.Context, name string, n int, ask func(*declaration, *amqp.Channel) error) (int, error) {
	queue := QueueConfig{Name: countQueue(name), MaxLength: int64(n)}
	err := t.b.control.do(ctx, func(ch *amqp.Channel) error { return ask(queue.declaration(t.b.server), ch) })
	if err == nil {
		return n, nil
	}
	if c, is := complaintOf(err); is && c.argument == amqp.QueueMaxLenArg {
		if has, err := strconv.Atoi(c.have); err == nil {
			return has, nil
		}
	}
	return 0, fmt.Errorf("rabbitmq: partition count of topic %q: %w", name, err)
}

// EnsureTopic implements [brokers.Broker]. A topic is a durable direct exchange,
// and for each group and partition a quorum queue with a single active consumer.
func (b *Broker) EnsureTopic(ctx context.Context, cfg brokers.TopicConfig) error {
	if cfg.Partitions == 0 {
		cfg.Partitions = defaultPartitions
	}
	if err := checkTopic(cfg); err != nil {
		return err
	}
	for failures := 0; ; failures++ {
		err := b.topics.ensure(ctx, cfg)
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

func checkTopic(cfg brokers.TopicConfig) error {
	switch {
	case cfg.Name == "":
		return fmt.Errorf("%w: TopicConfig.Name is empty", brokers.ErrInvalid)
	case strings.HasPrefix(cfg.Name, "amq."):
		return fmt.Errorf("%w: TopicConfig.Name %q begins with amq., as the server's own", brokers.ErrInvalid, cfg.Name)
	case len(cfg.Name) > maxName:
		return tooLong("TopicConfig.Name", cfg.Name)
	case cfg.Partitions < 1 || cfg.Partitions > maxPartitions:
		return fmt.Errorf("%w: TopicConfig.Partitions is %d; want 1 to %d", brokers.ErrInvalid, cfg.Partitions, maxPartitions)
	}
	return errors.Join(
		checkGroups("Groups", cfg.Groups, func(group string) string { return groupQueue(cfg.Name, group, cfg.Partitions) }),
		checkGroups("Competing", cfg.Competing, func(group string) string { return competingQueue(cfg.Name, group) }),
	)
}

func checkGroups(field string, groups []string, queue func(string) string) error {
	for _, group := range groups {
		if group == "" {
			return fmt.Errorf("%w: TopicConfig.%s has an empty one", brokers.ErrInvalid, field)
		}
		if name := queue(group); len(name) > maxName {
			return tooLong("TopicConfig."+field+": the queue's name", name)
		}
	}
	return nil
}

func tooLong(field, text string) error {
	return fmt.Errorf("%w: %s has %d bytes, more than %d: %.40q", brokers.ErrInvalid, field, len(text), maxName, text)
}

func (t *topics) ensure(ctx context.Context, cfg brokers.TopicConfig) error {
	has, err := t.count(ctx, cfg.Name, cfg.Partitions, (*declaration).declare)
	if err != nil {
		return err
	}
	if has != cfg.Partitions {
		return fmt.Errorf("%w: TopicConfig.Partitions is %d, and topic %q has %d", brokers.ErrInvalid, cfg.Partitions, cfg.Name, has)
	}
	return t.b.control.do(ctx, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(cfg.Name, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
			return fmt.Errorf("rabbitmq: exchange %q: %w", cfg.Name, err)
		}
		for _, group := range cfg.Groups {
			if err := t.b.declareGroup(ch, cfg.Name, group, cfg.Partitions); err != nil {
				return err
			}
		}
		for _, group := range cfg.Competing {
			if err := t.b.declareCompeting(ch, cfg.Name, group, cfg.Partitions); err != nil {
				return err
			}
		}
		return nil
	})
}

// declareGroup makes the queues of a group, and binds them.
func (b *Broker) declareGroup(ch *amqp.Channel, topic, group string, partitions int) error {
	arguments := b.groupArguments(true)
	for id := range partitions {
		queue := groupQueue(topic, group, id)
		if err := b.declareGroupQueue(ch, queue, arguments); err != nil {
			return fmt.Errorf("rabbitmq: queue %q: %w", queue, err)
		}
		if err := ch.QueueBind(queue, strconv.Itoa(id), topic, false, nil); err != nil {
			return fmt.Errorf("rabbitmq: queue %q: bind to %q: %w", queue, topic, err)
		}
	}
	return nil
}

// groupArguments are those of the queues of groups. They deliver a message as often
// as need be: with the default of 20 from 4.0 on every twentieth hand-over would
// drop what was prefetched.
func (b *Broker) groupArguments(singleActive bool) amqp.Table {
	q := QueueConfig{SingleActive: singleActive, DeliveryLimit: -1}
	if b.cfg.DeadLetter.Exchange != "" {
		q.DeadLetter, q.Overflow = b.cfg.DeadLetter, OverflowReject
		q.DeadLetter.AtLeastOnce = true
	}
	return q.declaration(b.server).arguments()
}

// declareGroupQueue makes a queue or checks it. One with a delivery limit is
// refused, unless Config allows it.
func (b *Broker) declareGroupQueue(ch *amqp.Channel, queue string, arguments amqp.Table) error {
	if slices.Contains(b.cfg.LimitedQueues, queue) {
		_, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err
	}
	_, err := ch.QueueDeclare(queue, true, false, false, false, arguments)
	c, is := complaintOf(err)
	switch {
	case is && c.argument == deliveryLimitArgument:
		return fmt.Errorf("it has a delivery limit (%s is %s), by which the server drops what was delivered so often, "+
			"handled or not, and each hand-over delivers; make it anew, or name it in Config.LimitedQueues: %w", c.argument, c.text(), err)
	case is:
		return fmt.Errorf("%s is %s, and %v was asked for: %w", c.argument, c.text(), cmp.Or[any](arguments[c.argument], none), err)
	}
	return err
}

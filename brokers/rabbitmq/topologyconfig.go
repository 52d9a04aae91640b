package rabbitmq

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// ExchangeKind is how an exchange chooses queues. Kinds of other plugins than
// that of ExchangeConsistentHash can be named as well.
type ExchangeKind string

// The kinds of exchanges.
const (
	ExchangeDirect         ExchangeKind = "direct"            // by the routing key, as it is
	ExchangeTopic          ExchangeKind = "topic"             // by patterns of words in it: * is one, # any number
	ExchangeFanout         ExchangeKind = "fanout"            // all
	ExchangeHeaders        ExchangeKind = "headers"           // by headers
	ExchangeConsistentHash ExchangeKind = "x-consistent-hash" // one, by the hash of the routing key; a plugin
)

// ExchangeConfig is an exchange.
type ExchangeConfig struct {
	// Name of the exchange. Required.
	Name string
	// Kind defaults to ExchangeDirect.
	Kind ExchangeKind
	// Transient: it is gone when the server restarts. Defaults to false.
	Transient bool
	// AutoDelete: it goes with its last binding. Defaults to false.
	AutoDelete bool
	// Internal: only other exchanges publish to it. Defaults to false.
	Internal bool
	// Alternate is the exchange that gets what no queue is bound for; such a
	// message is not unroutable. Defaults to none.
	Alternate string
	// Arguments are further ones, such as hash-header of ExchangeConsistentHash.
	// The server compares them with those of an exchange that exists for its own
	// kinds only. Defaults to none.
	Arguments map[string]any
	// Foreign: others look after it. It must be there, whatever it is, and is
	// never made. Defaults to false.
	Foreign bool
}

func (c *ExchangeConfig) validate() error {
	if err := checkName("ExchangeConfig.Name", c.Name, c.Foreign); err != nil {
		return err
	}
	if len(c.Alternate) > maxName {
		return tooLong("ExchangeConfig.Alternate", c.Alternate)
	}
	return checkArguments("ExchangeConfig.Arguments", c.Arguments, alternateArgument)
}

func (c *ExchangeConfig) declaration() *declaration {
	d := &declaration{what: whatExchange, name: c.Name, foreign: c.Foreign, args: amqp.Table{
		flagKind: string(cmp.Or(c.Kind, ExchangeDirect)), flagDurable: !c.Transient,
		flagAutoDelete: c.AutoDelete, flagInternal: c.Internal,
	}}
	maps.Copy(d.args, c.Arguments)
	if c.Alternate != "" {
		d.args[alternateArgument] = c.Alternate
	}
	return d
}

// QueueKind is how a queue is kept.
type QueueKind string

// The kinds of queues.
const (
	QueueQuorum  QueueKind = amqp.QueueTypeQuorum  // on several servers; counts deliveries
	QueueClassic QueueKind = amqp.QueueTypeClassic // on one
)

// Overflow is what gives way at a queue's limit.
type Overflow string

// What gives way.
const (
	OverflowDropHead      Overflow = "drop-head"          // the oldest message; it is dead-lettered
	OverflowReject        Overflow = "reject-publish"     // the new one: its publisher gets ErrNotAcknowledged
	OverflowRejectAndDead Overflow = "reject-publish-dlx" // the same, and it is dead-lettered; classic queues
)

// QueueConfig is a queue.
type QueueConfig struct {
	// Name of the queue. Required.
	Name string
	// Kind defaults to QueueQuorum.
	Kind QueueKind
	// Transient: it is gone when the server restarts, and so is what lies in it.
	// Classic queues only. Defaults to false.
	Transient bool
	// AutoDelete: it goes with its last consumer. Classic queues only. Defaults to
	// false.
	AutoDelete bool
	// MessageTTL is how long a message lives in it. Defaults to for ever. It and
	// Expiry are whole milliseconds, rounded up.
	MessageTTL time.Duration
	// Expiry is how long the queue lives without consumers. Defaults to for ever.
	Expiry time.Duration
	// MaxLength and MaxBytes are how many messages and bytes it keeps. Default to
	// no limit.
	MaxLength, MaxBytes int64
	// Overflow defaults to OverflowDropHead.
	Overflow Overflow
	// DeadLetter is where messages go that are rejected, expire or are too many.
	// Defaults to nowhere: they are dropped.
	DeadLetter DeadLetter
	// SingleActive gives one consumer all messages, until it goes. Defaults to
	// false.
	SingleActive bool
	// DeliveryLimit is how often a quorum queue delivers a message before it is
	// dead-lettered; -1 is without a limit. Defaults to the server's: none before
	// 4.0, 20 since.
	DeliveryLimit int
	// MaxPriority is how many priorities a classic queue tells apart. Defaults to
	// none.
	MaxPriority uint8
	// Arguments are further ones. Only those that its kind knows are compared with
	// a queue that exists. Defaults to none.
	Arguments map[string]any
	// Foreign: others look after it. It must be there, whatever it is, and is
	// never made. Defaults to false.
	Foreign bool
}

// DeadLetter is where a queue's dead messages go.
type DeadLetter struct {
	// Exchange they are published to; [DefaultExchange] with RoutingKey names a
	// queue. Defaults to none.
	Exchange string
	// RoutingKey defaults to the message's own.
	RoutingKey string
	// AtLeastOnce keeps a message until its target has it, on quorum queues with
	// OverflowReject. Defaults to at most once.
	AtLeastOnce bool
}

// validate is that of a field with it, of a config of that name.
func (d *DeadLetter) validate(at string) error {
	if d.Exchange == "" && (d.RoutingKey != "" || d.AtLeastOnce) {
		return fmt.Errorf("%w: %sDeadLetter has no Exchange", brokers.ErrInvalid, at)
	}
	return nil
}

func (c *QueueConfig) validate() error {
	const at = "QueueConfig."
	if err := c.DeadLetter.validate(at); err != nil {
		return err
	}
	classic := c.Kind == QueueClassic
	switch {
	case c.Kind != "" && c.Kind != QueueQuorum && !classic:
		return fmt.Errorf("%w: %sKind is unknown: %q", brokers.ErrInvalid, at, c.Kind)
	case !classic && c.Transient:
		return fmt.Errorf("%w: %sTransient is for classic queues", brokers.ErrInvalid, at)
	case !classic && c.AutoDelete:
		return fmt.Errorf("%w: %sAutoDelete is for classic queues", brokers.ErrInvalid, at)
	case !classic && c.MaxPriority > 0:
		return fmt.Errorf("%w: %sMaxPriority is for classic queues", brokers.ErrInvalid, at)
	case classic && c.DeliveryLimit != 0, c.DeliveryLimit < -1:
		return fmt.Errorf("%w: %sDeliveryLimit is %d; want -1 or more, and a quorum queue", brokers.ErrInvalid, at, c.DeliveryLimit)
	case c.MaxLength < 0 || c.MaxBytes < 0:
		return fmt.Errorf("%w: %sMaxLength or MaxBytes is negative", brokers.ErrInvalid, at)
	case c.DeadLetter.AtLeastOnce && (classic || c.Overflow != OverflowReject):
		// The server takes it, and dead-letters at most once all the same.
		return fmt.Errorf("%w: %sDeadLetter.AtLeastOnce needs a quorum queue with OverflowReject", brokers.ErrInvalid, at)
	}
	for field, d := range map[string]time.Duration{"MessageTTL": c.MessageTTL, "Expiry": c.Expiry} {
		if d < 0 || milliseconds(d) > math.MaxUint32 {
			return fmt.Errorf("%w: %s%s is %v; want 0 to 49 days", brokers.ErrInvalid, at, field, d)
		}
	}
	if err := checkName(at+"Name", c.Name, c.Foreign); err != nil {
		return err
	}
	return checkArguments(at+"Arguments", c.Arguments, queueArguments...)
}

// queueArguments are those that have fields.
var queueArguments = []string{
	amqp.QueueTypeArg, amqp.QueueMessageTTLArg, amqp.QueueTTLArg, amqp.QueueMaxLenArg, amqp.QueueMaxLenBytesArg, amqp.QueueOverflowArg,
	deadExchangeArgument, deadKeyArgument, deadStrategyArgument, amqp.SingleActiveConsumerArg, deliveryLimitArgument, maxPriorityArgument,
}

const (
	alternateArgument     = "alternate-exchange"
	deadExchangeArgument  = "x-dead-letter-exchange"
	deadKeyArgument       = "x-dead-letter-routing-key"
	deadStrategyArgument  = "x-dead-letter-strategy"
	deliveryLimitArgument = "x-delivery-limit"
	maxPriorityArgument   = "x-max-priority"
)

func (c *QueueConfig) declaration(v server) *declaration {
	d := &declaration{what: whatQueue, name: c.Name, foreign: c.Foreign, args: amqp.Table{
		flagDurable: !c.Transient, flagAutoDelete: c.AutoDelete,
		amqp.QueueTypeArg: string(cmp.Or(c.Kind, QueueQuorum)),
	}}
	maps.Copy(d.args, c.Arguments)
	set := func(name string, value any, is bool) {
		if is {
			d.args[name] = value
		}
	}
	set(amqp.QueueMessageTTLArg, milliseconds(c.MessageTTL), c.MessageTTL > 0)
	set(amqp.QueueTTLArg, milliseconds(c.Expiry), c.Expiry > 0)
	set(amqp.QueueMaxLenArg, c.MaxLength, c.MaxLength > 0)
	set(amqp.QueueMaxLenBytesArg, c.MaxBytes, c.MaxBytes > 0)
	set(amqp.QueueOverflowArg, string(c.Overflow), c.Overflow != "")
	set(deadExchangeArgument, exchangeName(c.DeadLetter.Exchange), c.DeadLetter.Exchange != "")
	set(deadKeyArgument, c.DeadLetter.RoutingKey, c.DeadLetter.RoutingKey != "")
	set(deadStrategyArgument, "at-least-once", c.DeadLetter.AtLeastOnce)
	set(amqp.SingleActiveConsumerArg, true, c.SingleActive)
	set(maxPriorityArgument, int64(c.MaxPriority), c.MaxPriority > 0)
	if limit := int64(c.DeliveryLimit); limit != 0 {
		set(deliveryLimitArgument, limit, limit > 0 || v.limitsDeliveries())
	}
	return d
}

// BindingConfig has an exchange give messages to a queue, or to another exchange.
type BindingConfig struct {
	// Exchange that messages come from. Required.
	Exchange string
	// Queue or ToExchange they go to. One is required.
	Queue, ToExchange string
	// Key is the routing key, or the pattern of one. With ExchangeConsistentHash
	// it is the share of keys, and defaults to "1".
	Key string
	// Headers that a message must have, of ExchangeHeaders: all of them, or with
	// Any one. Default to none.
	Headers map[string]any
	Any     bool
}

// String says what is bound to what.
func (c BindingConfig) String() string {
	to := fmt.Sprintf("queue %q", c.Queue)
	if c.ToExchange != "" {
		to = fmt.Sprintf("exchange %q", c.ToExchange)
	}
	text := fmt.Sprintf("binding of %s to exchange %q", to, c.Exchange)
	if c.Key != "" {
		text += fmt.Sprintf(" by %q", c.Key)
	}
	if len(c.Headers) > 0 {
		text += fmt.Sprintf(" by headers %v", c.Headers)
	}
	return text
}

func (c *BindingConfig) validate() error {
	const at = "BindingConfig."
	switch {
	case c.Exchange == "" || exchangeName(c.Exchange) == "":
		return fmt.Errorf("%w: %sExchange is %q; the default exchange has no bindings", brokers.ErrInvalid, at, c.Exchange)
	case (c.Queue == "") == (c.ToExchange == ""):
		return fmt.Errorf("%w: %sQueue or ToExchange is required, and not both", brokers.ErrInvalid, at)
	case len(c.Key) > maxName:
		return tooLong(at+"Key", c.Key)
	case c.Any && len(c.Headers) == 0:
		return fmt.Errorf("%w: %sAny is about Headers, and there are none", brokers.ErrInvalid, at)
	}
	return checkArguments(at+"Headers", c.Headers, "x-match")
}

func (c *BindingConfig) bind(ch *amqp.Channel, kind ExchangeKind) error {
	key := c.Key
	if kind == ExchangeConsistentHash {
		key = cmp.Or(key, "1")
	}
	args := amqp.Table{}
	maps.Copy(args, c.Headers)
	if c.Any {
		args["x-match"] = "any"
	}
	if c.ToExchange != "" {
		return ch.ExchangeBind(c.ToExchange, key, c.Exchange, false, args)
	}
	return ch.QueueBind(c.Queue, key, c.Exchange, false, args)
}

// exchangeName is an exchange's name on the wire.
func exchangeName(name string) string {
	if name == DefaultExchange {
		return ""
	}
	return name
}

// milliseconds is a duration in whole ones, rounded up.
func milliseconds(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d-1)/time.Millisecond + 1)
}

func checkName(field, name string, foreign bool) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: %s is empty", brokers.ErrInvalid, field)
	case len(name) > maxName:
		return tooLong(field, name)
	case strings.HasPrefix(name, "amq.") && !foreign:
		return fmt.Errorf("%w: %s %q begins with amq., as the server's own", brokers.ErrInvalid, field, name)
	}
	return nil
}

// checkArguments refuses what the client cannot write, and what has a field.
func checkArguments(field string, args map[string]any, taken ...string) error {
	for _, name := range taken {
		if _, is := args[name]; is {
			return fmt.Errorf("%w: %s has %s, for which there is a field", brokers.ErrInvalid, field, name)
		}
	}
	if err := amqp.Table(args).Validate(); err != nil {
		return fmt.Errorf("%w: %s: %w", brokers.ErrInvalid, field, err)
	}
	return nil
}

package actors

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// ErrConfig is what every error of [NewSystem] wraps: a config that cannot work.
// The text names the subscription and the field.
var ErrConfig = errors.New("actors: config")

// Config is what a system's subscriptions share.
type Config struct {
	// Logger gets one line per failure, at the level of what it means.
	// Defaults to none.
	Logger *zap.Logger
	// ActorSystem hosts the partition actors and the key actors' PIDs; pass
	// yours to talk to keys from your own actors. Defaults to a new one.
	ActorSystem *actor.ActorSystem
	// DrainTimeout is how long shutdown and the loss of a partition may wait
	// for what runs. Defaults to 25 s.
	DrainTimeout time.Duration
	// MaxInFlight and MaxInFlightBytes bound what the process has fetched and
	// not settled, over all subscriptions. Each partition may exceed them by one
	// fetch. Default to 262,144 messages and 256 MiB.
	MaxInFlight      int
	MaxInFlightBytes int
	// Observe is the sink of every [Event]: metrics, traces, tests ([Observers]
	// makes one of several). It is told in the goroutine where it happens and
	// often under a partition's lock: it must be quick and may not call back into
	// the system. Defaults to none.
	Observe func(Event)
}

// Unkeyed says what happens to messages without a key.
type Unkeyed uint8

// The ways to handle messages without a key. An empty key is a key.
const (
	// UnkeyedSerial handles them one at a time per partition, in order.
	UnkeyedSerial Unkeyed = iota
	// UnkeyedConcurrent handles them at once, without order.
	UnkeyedConcurrent
	// UnkeyedRefuse makes each a permanent failure with [ErrNoKey], judged by
	// the policy.
	UnkeyedRefuse
)

// Overflow says what happens when a partition reaches MaxParked, MaxGap, MaxStaged
// or MaxParkTime.
type Overflow uint8

const (
	// OverflowHold stops reading the partition until a parked key has made
	// progress; Health names the keys. Nothing is given up.
	OverflowHold Overflow = iota
	// OverflowDeadLetterKey dead-letters the backlog of the parked key that
	// causes it, in order, and all that comes for that key until
	// [System.ReleaseKey].
	OverflowDeadLetterKey
)

// Subscription binds topics of a broker, as a member of a group, to an actor.
type Subscription struct {
	// Group is the consumer group, and the name under which [System.PID] and
	// logs know the subscription. Required, unique in a system together with
	// each topic.
	Group string
	// Broker to read from and publish to. Required.
	Broker brokers.Broker
	// Topics to read. Required.
	Topics []string
	// Actor handles the messages. Required.
	Actor Actor
	// Policy turns errors into verdicts. Defaults to the zero Policy: five
	// attempts, then the key is parked.
	Policy supervision.Policy
	// Middleware surrounds each attempt, the first one outermost. Defaults to none.
	Middleware []Middleware

	// Key is a message's key. Defaults to brokers.MessageKey.
	Key brokers.KeyFunc
	// Unkeyed is for messages without one. Defaults to UnkeyedSerial.
	Unkeyed Unkeyed
	// Unordered joins as a competing consumer and handles messages at once, in
	// no order, with the same policies. Defaults to false.
	Unordered bool
	// Transactional has what handlers publish, and dead letters, count together with
	// the acknowledgement of their messages, once: see [brokers.Stager]. It needs a
	// broker with Features.Transactions. What Publish staged then goes out when all
	// messages before are settled as well, so that a key that is stuck holds back
	// what others led to, at MaxStaged the partition. Answers, letters, timers and
	// what their handlers publish are not part of it, nor is PublishNow. Defaults to
	// false.
	Transactional bool
	// TypeOf names a message's type for the handlers of [On]. "" is no name.
	// Defaults to the header ce_type, then type, then the only registered type.
	TypeOf func(*brokers.Message) string
	// Codec decodes payloads for typed handlers and encodes what they publish.
	// Defaults to JSON.
	Codec Codec
	// Start is where a new group begins. Defaults to brokers.StartEarliest.
	Start brokers.StartAt

	// Concurrency is how many keys may be handled at once. Defaults to 256.
	Concurrency int
	// MaxInFlight and MaxInFlightBytes bound what one partition has fetched and
	// neither settled nor parked. Default to 4,096 messages and 16 MiB.
	MaxInFlight      int
	MaxInFlightBytes int
	// MaxParked bounds what one partition holds at and behind keys that wait for
	// a second or more: parked, or in a long back-off. Defaults to 1,024.
	MaxParked int
	// MaxGap bounds what is settled above the low-water mark, where the broker
	// acknowledges prefixes only. Defaults to 1,000,000.
	MaxGap int
	// MaxStaged and MaxStagedBytes bound what is staged in one partition and not
	// committed, if it is Transactional. Default to 65,536 messages and 16 MiB.
	MaxStaged      int
	MaxStagedBytes int
	// MaxParkTime bounds how long a key stays parked. Defaults to half of
	// brokers.Features.MaxUnacknowledged; where that is 0, to no limit.
	MaxParkTime time.Duration
	// OnOverflow acts at these limits. Defaults to OverflowHold.
	OnOverflow Overflow
	// MaxBacklog bounds the letters (messages by PID) waiting at one key.
	// Defaults to 1,024.
	MaxBacklog int
	// PassivateAfter ends a key's actor that had nothing to do for so long.
	// Negative is never. Defaults to 10 min.
	PassivateAfter time.Duration

	// Children bounds the restarts of each child that a key spawned. Defaults to
	// 10 within 10 s.
	Children supervision.RestartWindow

	// Publisher is the window for what handlers publish and for dead letters.
	// Its Order and DeliveryTimeout are set by the runtime. Defaults to the zero
	// config.
	Publisher brokers.PublisherConfig
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	c.DrainTimeout = orDefault(c.DrainTimeout, 25*time.Second)
	c.MaxInFlight = orDefault(c.MaxInFlight, 262_144)
	c.MaxInFlightBytes = orDefault(c.MaxInFlightBytes, 256<<20)
	return c
}

func (s Subscription) withDefaults() Subscription {
	if s.Key == nil {
		s.Key = brokers.MessageKey
	}
	if s.Codec == nil {
		s.Codec = JSON{}
	}
	s.Concurrency = orDefault(s.Concurrency, 256)
	s.MaxInFlight = orDefault(s.MaxInFlight, 4096)
	s.MaxInFlightBytes = orDefault(s.MaxInFlightBytes, 16<<20)
	s.MaxParked = orDefault(s.MaxParked, 1024)
	s.MaxGap = orDefault(s.MaxGap, 1_000_000)
	s.MaxBacklog = orDefault(s.MaxBacklog, 1024)
	s.PassivateAfter = orDefault(s.PassivateAfter, 10*time.Minute)
	if s.MaxParkTime == 0 && s.Broker != nil {
		s.MaxParkTime = s.Broker.Features().MaxUnacknowledged / 2
	}
	return s
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// validate returns every fault of the config, joined.
func validate(cfg Config, subs []Subscription) error {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrConfig, field, fmt.Sprintf(format, args...)))
	}
	notNegative(fault, "Config.", map[string]int64{
		"DrainTimeout": int64(cfg.DrainTimeout), "MaxInFlight": int64(cfg.MaxInFlight),
		"MaxInFlightBytes": int64(cfg.MaxInFlightBytes),
	})
	if len(subs) == 0 {
		fault("Subscription", "a system needs at least one")
	}
	seen := make(map[string]int)
	for i := range subs {
		s := &subs[i]
		at := fmt.Sprintf("Subscription %d (%q).", i, s.Group)
		s.validate(func(field, format string, args ...any) { fault(at+field, format, args...) })
		for _, topic := range s.Topics {
			id := s.Group + "\x00" + topic
			if j, dup := seen[id]; dup {
				fault(at+"Topics", "%q is read by subscription %d under the same group", topic, j)
			}
			seen[id] = i
		}
	}
	return errors.Join(errs...)
}

func (s *Subscription) validate(fault func(field, format string, args ...any)) {
	if s.Group == "" {
		fault("Group", "is required")
	}
	if s.Broker == nil {
		fault("Broker", "is required")
	}
	if s.Actor == nil {
		fault("Actor", "is required")
	}
	s.validateDurable(fault)
	if len(s.Topics) == 0 {
		fault("Topics", "at least one is required")
	}
	for _, topic := range s.Topics {
		if topic == "" {
			fault("Topics", "a topic is empty")
		}
	}
	if err := s.Policy.Validate(); err != nil {
		fault("Policy", "%v", err)
	}
	if slices.Contains(s.Topics, s.Policy.DeadLetter) {
		fault("Policy", "DeadLetter %q is one of the Topics: dead letters would come back for ever", s.Policy.DeadLetter)
	}
	if s.Unkeyed > UnkeyedRefuse {
		fault("Unkeyed", "%d is none of the constants", s.Unkeyed)
	}
	if s.OnOverflow > OverflowDeadLetterKey {
		fault("OnOverflow", "%d is none of the constants", s.OnOverflow)
	}
	if s.OnOverflow == OverflowDeadLetterKey && !s.Policy.Buries() {
		fault("OnOverflow", "OverflowDeadLetterKey needs Policy.DeadLetter, or Policy.Reject")
	}
	if s.Policy.Reject && s.Broker != nil && !s.Broker.Features().Rejection {
		fault("Policy", "Reject: the %s broker dead-letters nothing by itself", s.Broker.Name())
	}
	if s.Unordered && s.Broker != nil && !s.Broker.Features().Competing {
		fault("Unordered", "the %s broker has no competing consumers", s.Broker.Name())
	}
	s.validateTransactional(fault)
	notNegative(fault, "", map[string]int64{
		"MaxStaged": int64(s.MaxStaged), "MaxStagedBytes": int64(s.MaxStagedBytes),
		"Concurrency": int64(s.Concurrency), "MaxInFlight": int64(s.MaxInFlight),
		"MaxInFlightBytes": int64(s.MaxInFlightBytes), "MaxParked": int64(s.MaxParked),
		"MaxGap": int64(s.MaxGap), "MaxParkTime": int64(s.MaxParkTime), "MaxBacklog": int64(s.MaxBacklog),
	})
}

func (s *Subscription) validateDurable(fault func(field, format string, args ...any)) {
	if s.Actor == nil {
		return
	}
	s.Actor.blueprint().routes.validateTx(s.Actor.blueprint().durable, fault)
	if s.Actor.blueprint().durable == nil {
		return
	}
	s.Actor.blueprint().durable.validate(fault)
	if s.Unordered {
		fault("Unordered", "durable actors need the order of their keys")
	}
	if s.Unkeyed == UnkeyedConcurrent {
		fault("Unkeyed", "durable actors need keys: messages without one are refused")
	}
}

func (s *Subscription) validateTransactional(fault func(field, format string, args ...any)) {
	switch {
	case !s.Transactional:
	case s.Unordered:
		fault("Transactional", "goes not with Unordered")
	case s.Actor != nil && s.Actor.blueprint().durable != nil:
		fault("Transactional", "goes not with durable actors, whose store has transactions of its own")
	case s.Broker != nil && !s.Broker.Features().Transactions:
		fault("Transactional", "the %s broker has no transactions", s.Broker.Name())
	}
}

func notNegative(fault func(field, format string, args ...any), prefix string, fields map[string]int64) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if fields[name] < 0 {
			fault(prefix+name, "is negative")
		}
	}
}

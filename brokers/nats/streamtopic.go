package nats

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// StreamTopic is a stream that others made, as a topic to subscribe to: of one
// partition, as nobody has shared its messages out. One member of a group reads
// it, and its keys are handled beside each other.
//
// Message.Topic of what comes is Topic, Message.RoutingKey the subject. It has a
// key only if its publisher was of this package: choose one, as by
// [SubjectToken].
type StreamTopic struct {
	// Topic is the name to subscribe by. It hides a topic made by EnsureTopic.
	// Required.
	Topic string
	// Stream is the name of the stream. It may be made later. Required.
	Stream string
	// Filters are the subjects to read, with wildcards, none of which may be
	// among another's. A group keeps those that it began with. Defaults to all.
	Filters []string
	// Sequence is where a group begins that has no position: at the first message
	// of that stream sequence or above. Defaults to what the subscription says:
	// all, new, or from a time on.
	Sequence uint64
}

func (c StreamTopic) validate() error {
	switch {
	case c.Topic == "":
		return fmt.Errorf("%w: StreamTopic.Topic is empty", brokers.ErrInvalid)
	case c.Stream == "":
		return fmt.Errorf("%w: StreamTopic.Stream is empty", brokers.ErrInvalid)
	}
	for _, f := range c.Filters {
		if !validSubject(f, true) {
			return fmt.Errorf("%w: StreamTopic.Filters: no subject: %q", brokers.ErrInvalid, f)
		}
	}
	return nil
}

// MapStream makes a stream a topic for subscriptions of this Broker. Each member
// of a group maps it in the same way, before it subscribes. Nothing is asked of
// the server; a stream that is missing is waited for, as a topic is, and one
// that does not allow what the group wants shows in Health. To publish to the
// stream's subjects is [Core]'s, or another client's. An error wraps
// [brokers.ErrInvalid] and names the field.
func (b *Broker) MapStream(cfg StreamTopic) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	cfg.Filters = slices.Sorted(slices.Values(cfg.Filters))
	b.topics.mapStream(cfg)
	return nil
}

// SubjectToken is a [brokers.KeyFunc]: token number n of a message's subject,
// counted from 0. Of a subject with fewer tokens, and of a message that is no
// [StreamTopic]'s, there is no key.
func SubjectToken(n int) brokers.KeyFunc {
	return func(m *brokers.Message) ([]byte, bool) {
		rest, more := m.RoutingKey, m.RoutingKey != ""
		for i := 0; more; i++ {
			var token string
			if token, rest, more = strings.Cut(rest, "."); i == n {
				return []byte(token), true
			}
		}
		return nil, false
	}
}

// filtersOf are the subjects that a consumer reads; none means all.
func filtersOf(cfg *jetstream.ConsumerConfig) []string {
	if cfg.FilterSubject != "" {
		return []string{cfg.FilterSubject}
	}
	return slices.Sorted(slices.Values(cfg.FilterSubjects))
}

// setFilters is its inverse. The server does not take one as a list.
func setFilters(cfg *jetstream.ConsumerConfig, filters []string) {
	if len(filters) == 1 {
		cfg.FilterSubject = filters[0]
		return
	}
	cfg.FilterSubjects = filters
}

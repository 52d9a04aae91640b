package supervision

import (
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// decodeForeign is Decode of what others have dead-lettered: the broker itself, or
// Spring AMQP's recoverer.
func decodeForeign(m *brokers.Message) (brokers.Message, Letter, error) {
	original, l := *m, Letter{}
	_, l.Replays = splitID(m.ID)
	original.Partition, original.Offset, original.Epoch, original.DeliveryCount, original.Broker = 0, 0, 0, 0, nil
	died := l.ofBroker(m, &original)
	if !l.ofSpring(m, &original) && !died {
		return brokers.Message{}, Letter{}, ErrNotDeadLetter
	}
	return original, l, nil
}

// ofBroker reads what the broker says of the message's death.
func (l *Letter) ofBroker(m, original *brokers.Message) bool {
	facts, may := m.Broker.(brokers.DeadLettered)
	if !may {
		return false
	}
	died, is := facts.Died()
	if !is {
		return false
	}
	original.Topic, original.RoutingKey = died.Topic, died.RoutingKey
	l.Reason, l.Group = died.Reason, died.Queue
	l.Attempts, l.FirstFailure, l.LastFailure = died.Count, died.First, died.Last
	return true
}

// Headers of Spring AMQP's RepublishMessageRecoverer.
const (
	springMessage    = "x-exception-message"
	springStack      = "x-exception-stacktrace"
	springExchange   = "x-original-exchange"
	springRoutingKey = "x-original-routingKey"
)

// ofSpring reads what the recoverer has written, and takes it off the original.
func (l *Letter) ofSpring(m, original *brokers.Message) bool {
	exchange, is := m.Headers.Get(springExchange)
	if !is {
		return false
	}
	original.Topic, original.RoutingKey = string(exchange), m.Headers.Text(springRoutingKey)
	l.ErrorMessage, l.Stack = m.Headers.Text(springMessage), m.Headers.Text(springStack)
	if l.Reason == "" {
		l.Reason = "republished by Spring AMQP"
	}
	original.Headers = slices.DeleteFunc(slices.Clone(m.Headers), func(h brokers.Header) bool {
		return h.Key == springMessage || h.Key == springStack || h.Key == springExchange || h.Key == springRoutingKey
	})
	return true
}

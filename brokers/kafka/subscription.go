package kafka

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/brokers"
)

// Subscribe implements [brokers.Broker]. It is not supported yet.
func (b *Broker) Subscribe(context.Context, brokers.SubscriptionConfig) (brokers.Subscription, error) {
	return nil, fmt.Errorf("%w: kafka: Subscribe", brokers.ErrUnsupported)
}

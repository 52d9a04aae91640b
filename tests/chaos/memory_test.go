package chaos_test

import (
	"context"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/tests/chaos"
)

func TestMemory(t *testing.T) { chaos.Run(t, "memory", memoryTarget) }

// The same in transactions.
func TestMemoryTransactional(t *testing.T) {
	chaos.Run(t, "memory transactional", memoryTransactional)
}

func memoryTransactional() chaos.Target {
	target := memoryTarget()
	target.Transactional = true
	return target
}

// memoryTarget is a server of this process. It knows no leases: what is lost is
// another's at once, so handlers of the former owner have some slack.
func memoryTarget() chaos.Target {
	server := memory.New(memory.Config{}).Server()
	return chaos.Target{
		Open: func(context.Context, string) (brokers.Broker, error) { return server.Connect(), nil },
		Cut: func(b brokers.Broker) func() {
			b.(*memory.Broker).Disconnect()
			return b.(*memory.Broker).Reconnect
		},
		Blows: map[string]func(ctx context.Context, topic, group string) (func(), error){
			"Expel": func(_ context.Context, _, group string) (func(), error) {
				return nil, server.Expel(group, server.Members(group)[0].Name)
			},
			"Rebalance": func(_ context.Context, _, group string) (func(), error) {
				server.Rebalance(group)
				return nil, nil
			},
			"VoidAcks": func(context.Context, string, string) (func(), error) {
				server.VoidAcks(5)
				return nil, nil
			},
			"LoseConfirms": func(context.Context, string, string) (func(), error) {
				server.LoseConfirms(5)
				return nil, nil
			},
			"HoldAcks":      func(context.Context, string, string) (func(), error) { return server.HoldAcks(), nil },
			"HoldDelivery":  func(context.Context, string, string) (func(), error) { return server.HoldDelivery(), nil },
			"HoldPublishes": func(context.Context, string, string) (func(), error) { return server.HoldPublishes(), nil },
		},
		Rate:   1000,
		Hold:   200 * time.Millisecond,
		Resume: 3 * time.Second,
		Limits: chaos.Limits{AckLag: 500 * time.Millisecond, Slack: 200 * time.Millisecond},
	}
}

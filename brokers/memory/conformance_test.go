package memory_test

import (
	"context"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/memory"
)

func TestConformance(t *testing.T) {
	for name, cfg := range map[string]memory.Config{
		"IndividualAcks": {},
		"CumulativeOnly": {CumulativeOnly: true, RefuseUnknownTopics: true},
		"Counting": {
			CountDeliveries: true, DedupWindow: time.Minute, DropSettled: true,
			Unsequenced: true, MaxMessageBytes: 2 << 20,
		},
	} {
		t.Run(name, func(t *testing.T) { brokertest.Run(t, harness(cfg)) })
	}
}

// harness connects to one server.
func harness(cfg memory.Config) brokertest.Harness {
	server := memory.New(cfg).Server()
	return brokertest.Harness{
		Open:          func(context.Context) (brokers.Broker, error) { return server.Connect(), nil },
		RefusedBytes:  refused(cfg),
		CreatesTopics: !cfg.RefuseUnknownTopics,
		Wait:          10 * time.Second,
		Quiet:         50 * time.Millisecond,
		Kill:          func(b brokers.Broker) error { b.(*memory.Broker).Disconnect(); return nil },
		Disconnect: func(b brokers.Broker) (func() error, error) {
			b.(*memory.Broker).Disconnect()
			return func() error { b.(*memory.Broker).Reconnect(); return nil }, nil
		},
		Breaks: map[string]func(topic, group string) error{
			"Expel":     func(_, group string) error { return server.Expel(group, "first") },
			"Rebalance": func(_, group string) error { server.Rebalance(group); return nil },
			"VoidAcks":  func(string, string) error { server.VoidAcks(1); return nil },
		},
	}
}

// refused is a size that the server does not take, 0 if it takes all.
func refused(cfg memory.Config) int {
	if cfg.MaxMessageBytes == 0 {
		return 0
	}
	return cfg.MaxMessageBytes + 1
}

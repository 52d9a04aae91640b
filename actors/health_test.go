package actors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// ailing is a broker whose subscriptions own partitions and report a fault.
type ailing struct {
	*memory.Broker
	fault error
}

func (a *ailing) Health(ctx context.Context) brokers.Health {
	h := a.Broker.Health(ctx)
	for i := range h.Subscriptions {
		h.Subscriptions[i].Err = a.fault
	}
	return h
}

// A member that owns some partitions is not ready while one cannot be had.
func TestHealthTellsTheFaultOfASubscription(t *testing.T) {
	for name, c := range map[string]struct {
		fault error
		ready bool
	}{
		"none":  {nil, true},
		"fault": {errors.New("partition 3 is stuck"), false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, memory.Config{}, func(w *world) {
				w.publish("k", "1")
				sick := &ailing{w.broker, c.fault}
				sys, err := actors.NewSystem(actors.Config{}, actors.Subscription{
					Group: "g", Broker: sick, Topics: []string{"in"}, Actor: w.handler(ok),
				})
				w.must(err)
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() {
					_, err := sys.Run(ctx)
					done <- err
				}()
				w.expect("k:1")
				h := sys.Health(ctx)
				if h.Ready != c.ready || c.fault != nil && !strings.Contains(fmt.Sprint(h.Faults), c.fault.Error()) {
					t.Errorf("health %+v; want ready %v, and the fault %v", h, c.ready, c.fault)
				}
				cancel()
				w.must(<-done)
			})
		})
	}
}

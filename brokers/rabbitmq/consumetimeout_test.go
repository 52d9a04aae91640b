package rabbitmq_test

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// control runs an operator's command on a server that may be hurt.
func (s server) control(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(os.Getenv("TEST_SERVICES"), append([]string{s.command}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", s.command, args, err, out)
	}
}

// onEachAlone runs a test on each server that may be hurt.
func onEachAlone(t *testing.T, test func(t *testing.T, url string, s server)) {
	t.Helper()
	for version, s := range servers {
		t.Run(version, func(t *testing.T) {
			url := serverURL(t, s.plain, s.optional)
			if os.Getenv("TEST_SERVICES") == "" {
				t.Skip("no server that may be hurt: TEST_SERVICES is not set")
			}
			test(t, url, s)
		})
	}
}

// A message that is unacknowledged for longer than the server allows ends the
// epoch, as the server closes the channel, and comes again in the next.
func TestAcknowledgementTimeout(t *testing.T) {
	onEachAlone(t, func(t *testing.T, url string, s server) {
		set := func(timeout, tick string) {
			s.control(t, "eval", "application:set_env(rabbit, consumer_timeout, "+timeout+"), application:set_env(rabbit, channel_tick_interval, "+tick+").")
		}
		set("1000", "300")
		defer set("1800000", "60000")
		cfg := config(t, url)
		cfg.AcknowledgementTimeout = time.Second
		g := newGroup(t, cfg)
		if got := g.b.Features().MaxUnacknowledged; got != time.Second {
			t.Errorf("Features.MaxUnacknowledged is %v", got)
		}
		g.ensure()
		g.publish(0, 3)
		sub := g.subscribe(brokers.SubscriptionConfig{})
		p := accept(t, sub)
		got := fetch(t, p, 0, 3)
		if err := p.Ack(brokers.Ack{UpTo: got[0].Offset}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Context().Done():
		case <-time.After(30 * time.Second):
			t.Fatal("the epoch went on")
		}
		if err := p.Ack(brokers.Ack{UpTo: got[2].Offset}); !errors.Is(err, brokers.ErrRevoked) {
			t.Errorf("Ack: %v", err)
		}
		_ = p.Close(t.Context()) // it may say that the first acknowledgement is not confirmed
		for _, m := range fetch(t, accept(t, sub), 1, 3) {
			if m.DeliveryCount != 2 {
				t.Errorf("message %q: delivery %d", m.Payload, m.DeliveryCount)
			}
		}
	})
}

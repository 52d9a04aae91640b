package nats_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// Messages that wait for their retry use up no more of the window than they are,
// come once, though the server sends them again, and hold back nobody.
func TestParkedMessages(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	ls.change = func(cfg *nats.Config) { cfg.AckWait = time.Second }
	b := open(t, ls)
	topic := makeTopic(t, b, 1)
	for n := range 8 {
		publish(t, b, numbered(topic, 0, fmt.Sprint("x", n), 0, 1)...)
	}
	s := subscribeAs(t, b, brokers.SubscriptionConfig{Group: name("group"), Topics: []string{topic}, MaxUnsettled: 16})
	t.Cleanup(func() { _ = s.Close(ended()) })
	p := accept(t, s)
	parked := fetch(t, p, 8)
	began := time.Now()
	for n := range 10 {
		for key := range 20 {
			publish(t, b, numbered(topic, 0, fmt.Sprint("y", key), n, n+1)...)
			got := fetch(t, p, 1)
			if string(got[0].Key) != fmt.Sprint("y", key) || number(&got[0]) != n {
				t.Fatalf("got %s; want y%d/%d", got[0].Payload, key, n)
			}
			if err := p.Ack(brokers.Ack{UpTo: brokers.NoOffset, Above: []int64{got[0].Offset}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("200 messages of other keys took %v", took)
	}
	// The server has sent the eight again by now; nobody sees that.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if again, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 10}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Fetch: %s, %v; want nothing", texts(again), err)
	}
	if err := p.Ack(brokers.Ack{UpTo: parked[7].Offset}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, numbered(topic, 0, "z", 0, 20)...)
	wantNumbers(t, fetch(t, p, 16), 0, 16)
}

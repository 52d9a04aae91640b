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

// A message that the server delivers again before it has the acknowledgement costs
// no epoch, and is not handed out again.
func TestRedeliveredBeforeAcknowledgement(t *testing.T) {
	t.Parallel()
	for mode, acks := range map[string]nats.AckMode{"Each": nats.AcksEach, "Prefix": nats.AcksPrefix} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ls := embeddedLines(startEmbedded(t))
			ls.change = func(cfg *nats.Config) { cfg.Acks, cfg.AckWait = acks, time.Second }
			b := open(t, ls)
			topic := makeTopic(t, b, 1)
			publish(t, b, numbered(topic, 0, "k", 0, 3)...)
			sub, err := b.Subscribe(t.Context(), brokers.SubscriptionConfig{
				Group: name("group"), Topics: []string{topic}, AckInterval: 4 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			p, err := sub.Accept(within(t))
			if err != nil {
				t.Fatal(err)
			}
			var got []brokers.Message
			for len(got) < 3 {
				more, err := p.Fetch(within(t), brokers.FetchLimit{Messages: 3})
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, more...)
			}
			if err := p.Ack(brokers.Ack{UpTo: got[2].Offset}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.Context().Done():
				t.Errorf("the epoch ended: %v", context.Cause(p.Context()))
			case <-time.After(2500 * time.Millisecond): // twice AckWait
			}
			publish(t, b, numbered(topic, 0, "k", 3, 4)...)
			more, err := p.Fetch(within(t), brokers.FetchLimit{Messages: 3})
			if err != nil || len(more) != 1 || more[0].Offset <= got[2].Offset {
				t.Errorf("fetched %v, %v; want the new message only", more, err)
			}
			if err := errors.Join(p.Close(within(t)), sub.Close(within(t))); err != nil {
				t.Error(err)
			}
		})
	}
}

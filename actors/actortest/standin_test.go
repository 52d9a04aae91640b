package actortest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

func publisherOver(t *testing.T, s *actortest.Sender) *brokers.Publisher {
	t.Helper()
	p, err := brokers.NewPublisher(s, brokers.Features{}, brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := actortest.NewSender(t)
		p := publisherOver(t, s)
		receipts, err := p.Publish(t.Context(), brokers.Message{Topic: "out", Payload: []byte(`{"Sum":1}`)}, brokers.Message{Topic: "out"})
		if err != nil || receipts[1].Offset != 1 {
			t.Fatal(receipts, err)
		}
		s.Topic("out").Expect(Total{1})
		if m := actortest.ExpectType[brokers.Message](s.Topic("out")); m.Offset != 1 {
			t.Fatalf("%+v", m)
		}
		s.Topic("out").ExpectNone(time.Minute)
	})
}

func TestSenderJudges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errFull := errors.New("full")
		s := actortest.NewSender(t)
		tries := 0
		s.Judge = func(m brokers.Message) error {
			tries++
			if string(m.Key) == "refused" {
				return errFull
			}
			if tries == 1 {
				return &brokers.SendError{Outcome: brokers.NotSent, Err: errFull}
			}
			return nil
		}
		p := publisherOver(t, s)
		if _, err := p.Publish(t.Context(), brokers.Message{Topic: "out", Key: []byte("k")}); err != nil || tries != 2 {
			t.Fatalf("after %d tries: %v", tries, err)
		}
		_, err := p.Publish(t.Context(), brokers.Message{Topic: "out", Key: []byte("refused")})
		if e := new(brokers.SendError); !errors.As(err, &e) || e.Retryable() || !errors.Is(err, errFull) {
			t.Fatalf("refused message: %v", err)
		}
		s.Topic("out").Receive(1)
		s.Topic("out").ExpectNone(time.Hour)
	})
}

// The broker has a record and is a broker as any other.
func TestBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := actortest.NewBroker(t, memory.Config{Partitions: 2})
		at := b.Feed(brokers.Message{Topic: "in", Key: []byte("k")}, brokers.Message{Topic: "in", Key: []byte("k")})
		sub, err := b.Subscribe(t.Context(), brokers.SubscriptionConfig{Group: "g", Topics: []string{"in"}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			part, err := sub.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if part.ID() != at[0].Partition {
				continue
			}
			if _, err := part.Fetch(t.Context(), brokers.FetchLimit{Messages: 9}); err != nil {
				t.Fatal(err)
			}
			if err := part.Ack(brokers.Ack{UpTo: brokers.NoOffset, Above: []int64{1}}); err != nil {
				t.Fatal(err)
			}
		}
		b.Topic("in").Receive(2)
		p, err := b.Server().Progress("g", "in", at[0].Partition)
		if err != nil || p.Position != 0 || len(p.Settled) != 1 {
			t.Fatalf("progress %+v, %v", p, err)
		}
	})
}

// Order, receipts, refusals and time-outs of a publisher survive the record.
func TestBrokerPublisher(t *testing.T) {
	for _, cfg := range []memory.Config{{Partitions: 1}, {Partitions: 1, Unsequenced: true}} {
		synctest.Test(t, func(t *testing.T) {
			b := actortest.NewBroker(t, cfg)
			p, err := b.Publisher(brokers.PublisherConfig{DeliveryTimeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Unsequenced { // else sending again is the driver's, not the publisher's
				b.Server().LoseConfirms(1)
			}
			release := b.Server().HoldPublishes()
			var order []int64
			for range 3 {
				err := p.PublishAsync(t.Context(), brokers.Message{Topic: "out", Key: []byte("k")}, func(r brokers.Receipt, err error) {
					if err != nil {
						t.Error(err)
					}
					order = append(order, r.Offset)
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			release()
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if len(order) != 3 || order[1] <= order[0] || order[2] <= order[1] {
				t.Errorf("offsets %v", order)
			}
			b.Server().HoldPublishes()
			var late error
			if err := p.PublishAsync(t.Context(), brokers.Message{Topic: "out"}, func(_ brokers.Receipt, err error) { late = err }); err != nil {
				t.Fatal(err)
			}
			<-time.After(2 * time.Minute)
			synctest.Wait()
			if !errors.Is(late, context.DeadlineExceeded) {
				t.Errorf("after the delivery time-out: %v", late)
			}
			now, cancel := context.WithCancel(t.Context())
			cancel()
			p.Close(now) //nolint:errcheck // what is on its way is given up
			if _, err := p.Publish(t.Context(), brokers.Message{Topic: "out"}); !errors.Is(err, brokers.ErrClosed) {
				t.Errorf("publishing after Close: %v", err)
			}
		})
	}
}

func TestBrokerRefusesBadConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := actortest.NewBroker(t, memory.Config{})
		if _, err := b.Publisher(brokers.PublisherConfig{MaxInFlight: -1}); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("Publisher: %v", err)
		}
		if _, err := b.Subscribe(t.Context(), brokers.SubscriptionConfig{}); !errors.Is(err, brokers.ErrInvalid) {
			t.Errorf("Subscribe: %v", err)
		}
	})
}

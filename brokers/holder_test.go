package brokers_test

import (
	"context"
	"errors"
	"testing"

	"github.com/troupe-go/troupe/brokers"
)

// holder is a sender that keeps what it is given until the test says more.
type holder struct{ taken chan []*brokers.Outbound }

func (h holder) Partitions(context.Context, string) (int, error) { return 1, nil }
func (h holder) Flush()                                          {}
func (h holder) Close() error                                    { return nil }
func (h holder) HoldsUntilBegin()                                {}
func (h holder) Send(_ context.Context, batch []*brokers.Outbound) {
	h.taken <- append([]*brokers.Outbound(nil), batch...)
}

// What a sender that holds messages has not begun to send is not sent when it is
// given up, and Begin leaves it out; what it has begun to send is unknown.
func TestGivenUpBeforeBegin(t *testing.T) {
	for _, began := range []bool{false, true} {
		h := holder{make(chan []*brokers.Outbound, 1)}
		p, err := brokers.NewPublisher(h, brokers.Features{SequencedPublish: true}, brokers.PublisherConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := p.Publish(ctx, brokers.Message{Topic: "t", Payload: []byte("x")})
			result <- err
		}()
		held := <-h.taken
		want := brokers.NotSent
		if began {
			var unwanted []*brokers.Outbound
			if held, unwanted = brokers.Begin(held); len(held) != 1 || len(unwanted) != 0 {
				t.Fatalf("Begin: %d wanted, %d not; want 1 and 0", len(held), len(unwanted))
			}
			want = brokers.Unknown
		}
		cancel()
		var failed *brokers.PublishError
		if err := <-result; !errors.As(err, &failed) || failed.Failures[0].Outcome != want {
			t.Errorf("given up, begun %v: %v; want %v", began, err, want)
		}
		if !began {
			var wanted []*brokers.Outbound
			if wanted, held = brokers.Begin(held); len(wanted) != 0 || len(held) != 1 {
				t.Fatalf("Begin of what was given up: %d wanted, %d not; want 0 and 1", len(wanted), len(held))
			}
		}
		held[0].Done(brokers.Receipt{}, &brokers.SendError{Outcome: want, Err: context.Canceled})
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

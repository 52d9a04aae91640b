package actortest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// Sender stands in for a broker behind a brokers.Publisher: it records what is
// published, and confirms it, or not.
//
//	sender := actortest.NewSender(t)
//	publisher, err := brokers.NewPublisher(sender, brokers.Features{}, brokers.PublisherConfig{})
type Sender struct {
	// Judge says what becomes of a message: nil confirms it, a
	// *brokers.SendError is reported as it is, any other error as refused. It
	// is set before the first publish. Defaults to confirming all.
	Judge func(brokers.Message) error

	scope Scope

	mu   sync.Mutex
	ends map[string]int64 // the next offset, by topic
}

var _ brokers.Sender = (*Sender)(nil)

// NewSender returns a sender of topics with one partition. It needs a bubble.
func NewSender(t TB) *Sender {
	t.Helper()
	needBubble(t)
	return &Sender{
		scope: Scope{story: newStory(t), codec: actors.JSON{}, within: patience},
		ends:  make(map[string]int64),
	}
}

// Topic is what is published to a topic. Typed expectations decode JSON.
func (s *Sender) Topic(name string) *Inbox { return s.scope.Topic(name) }

// Story tells what has happened: a line each, with the virtual time since the
// beginning. Log lines below the level Info are left out.
func (s *Sender) Story() string { return s.scope.story.String() }

// Partitions implements brokers.Sender.
func (s *Sender) Partitions(context.Context, string) (int, error) { return 1, nil }

// Send implements brokers.Sender.
func (s *Sender) Send(_ context.Context, batch []*brokers.Outbound) {
	for _, o := range batch {
		told := s.scope.story.publishing(o.Message)
		r, err := s.judged(o.Message)
		told(r, err)
		o.Done(r, err)
	}
}

func (s *Sender) judged(m *brokers.Message) (brokers.Receipt, error) {
	if s.Judge != nil {
		if err := s.Judge(m.Clone()); err != nil {
			return brokers.Receipt{}, asSendError(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := brokers.Receipt{Topic: m.Topic, Offset: s.ends[m.Topic]}
	s.ends[m.Topic]++
	return r, nil
}

// Flush implements brokers.Sender: nothing is held.
func (s *Sender) Flush() {}

// Close implements brokers.Sender: there is nothing to release.
func (s *Sender) Close() error { return nil }

func asSendError(err error) error {
	var known *brokers.SendError
	if errors.As(err, &known) {
		return err
	}
	return &brokers.SendError{Outcome: brokers.Refused, Err: err}
}

// relay is the sender of a recording [Broker]: it hands messages on to a
// publisher of the broker behind, which orders and repeats.
type relay struct {
	story *story
	next  *brokers.Publisher
}

// newRelay returns a publisher that records and hands on. As the one behind it
// keeps the order, it has no lanes, and sends nothing again.
func newRelay(story *story, next *brokers.Publisher, cfg brokers.PublisherConfig) (*brokers.Publisher, error) {
	cfg.Order, cfg.Partitioner = brokers.OrderNone, nowhere{}
	return brokers.NewPublisher(&relay{story, next}, brokers.Features{SequencedPublish: true}, cfg)
}

// nowhere leaves the partition to the publisher behind.
type nowhere struct{}

func (nowhere) Partition(*brokers.Message, int) (int32, error) { return 0, nil }

func (r *relay) Partitions(context.Context, string) (int, error) { return 1, nil }

func (r *relay) Send(ctx context.Context, batch []*brokers.Outbound) {
	for _, o := range batch {
		told := r.story.publishing(o.Message)
		done := func(receipt brokers.Receipt, err error) {
			told(receipt, err)
			o.Done(receipt, err)
		}
		if err := r.next.PublishAsync(ctx, *o.Message, done); err != nil {
			done(brokers.Receipt{}, err)
		}
	}
}

func (r *relay) Flush() {}

// Close ends the publisher behind: by now nobody waits for it.
func (r *relay) Close() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.next.Close(ended); err != nil {
		return fmt.Errorf("actortest: publisher behind the record: %w", err)
	}
	return nil
}

package brokers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = errors.New("broken")

func TestPublishReturnsReceiptsInTheOrderOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		c := start(t.Context(), p, msg("a1"), msg("a2"), msg("b1"), msg("c1"))
		d.confirm(t, "c1", "b1", "a1", "a2")
		got := <-c
		if got.err != nil || len(got.receipts) != 4 {
			t.Fatalf("%+v", got)
		}
		for i, r := range got.receipts {
			if m := msg([]string{"a1", "a2", "b1", "c1"}[i]); r.Topic != "t" || r.Offset != 7 || r.Partition != PartitionOf(m.Key, 12) {
				t.Errorf("receipt %d: %+v", i, r)
			}
		}
		want(t, d.sent(), "a1@1", "b1@1", "c1@1", "a2@1")
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPublishOfNothing(t *testing.T) {
	p := newTestPublisher(t, &desk{}, Features{}, PublisherConfig{})
	if receipts, err := p.Publish(t.Context()); receipts != nil || err != nil {
		t.Errorf("%v, %v", receipts, err)
	}
}

func TestOneMessageOfAKeyIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{})
		publish(t, p, n, "a1", "a2", "b1", "a3")
		want(t, d.sent(), "a1@1", "b1@1")
		d.confirm(t, "a1")
		want(t, d.sent(), "a2@1")
		d.confirm(t, "b1", "a2", "a3")
		want(t, n.read(), "a1", "b1", "a2", "a3")
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOrderIsThatOfThePartitionersKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{Partitioner: ByKey(HeaderKey("customer"))})
		for _, id := range []string{"a1", "b1"} {
			m := msg(id)
			m.Headers = Headers{{Key: "customer", Value: []byte("c")}}
			if err := p.PublishAsync(t.Context(), m, n.of(id)); err != nil {
				t.Fatal(err)
			}
		}
		want(t, d.sent(), "a1@1")
		d.confirm(t, "a1", "b1")
	})
}

func TestMessagesWithoutKeyAreOrderedPerPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{Partitioner: Explicit()})
		for i, id := range []string{"a1", "b1", "a2"} {
			m := msg(id)
			m.Key, m.Partition = nil, int32(i%2)
			if err := p.PublishAsync(t.Context(), m, n.of(id)); err != nil {
				t.Fatal(err)
			}
		}
		want(t, d.sent(), "a1@1", "b1@1")
		d.confirm(t, "a1", "b1", "a2")
	})
}

func TestWindowIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxInFlight: 2, Order: OrderNone})
		publish(t, p, n, "a1", "a2", "a3")
		want(t, d.sent(), "a1@1", "a2@1")
		d.confirm(t, "a2")
		want(t, d.sent(), "a3@1")
		d.confirm(t, "a3", "a1")
		want(t, n.read(), "a2", "a3", "a1")
	})
}

func TestSequencedSenderGetsAllAtOnceAndCallbacksAreOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		p := newTestPublisher(t, d, Features{SequencedPublish: true}, PublisherConfig{})
		publish(t, p, n, "a1", "a2", "a3", "b1")
		want(t, d.sent(), "a1@1", "a2@1", "a3@1", "b1@1")
		d.confirm(t, "a3", "b1")
		d.answer(t, "a2", notSent(errBroken))
		want(t, n.read(), "b1")
		d.confirm(t, "a1")
		want(t, n.read(), "a1", "a2", "a3")
		wantError(t, n.errs["a2"], NotSent, errBroken)
		<-time.After(time.Hour)
		want(t, d.sent()) // the driver retries, not the publisher
	})
}

func TestARefusedMessageFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{MaxMessageBytes: 100})
		large, noTopic := msg("a2"), msg("b1")
		large.Payload = make([]byte, 101)
		noTopic.Topic = ""
		c := start(t.Context(), p, msg("a1"), large, msg("a3"), noTopic, msg("a4"))
		d.confirm(t, "a1")
		d.answer(t, "a3", &SendError{Outcome: Refused, Err: errBroken})
		d.confirm(t, "a4")
		got := <-c
		var e *PublishError
		if !errors.As(got.err, &e) || e.Of != 5 || len(e.Failures) != 3 {
			t.Fatalf("%v", got.err)
		}
		for i, f := range []struct {
			index int
			id    string
			cause error
		}{{1, "a2", ErrTooLarge}, {2, "a3", errBroken}, {3, "b1", ErrInvalid}} {
			failure := &e.Failures[i]
			if failure.Index != f.index || failure.ID != f.id || failure.Retryable() {
				t.Errorf("failure %d: %+v", i, failure)
			}
			wantError(t, &failure.SendError, Refused, f.cause)
		}
		if r := got.receipts; r[0].Topic == "" || r[4].Topic == "" || r[1].Topic != "" {
			t.Errorf("receipts: %+v", r)
		}
	})
}

func TestPublishAsyncRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, n := &desk{}, &notes{}
		d.partitions = func(ctx context.Context, topic string) (int, error) {
			switch topic {
			case "unknown":
				return 0, ErrUnknownTopic
			case "empty":
				return 0, nil
			case "slow":
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			return 2, nil
		}
		p := newTestPublisher(t, d, Features{}, PublisherConfig{Partitioner: Explicit()})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for _, c := range []struct {
			name    string
			ctx     context.Context
			message Message
			outcome Outcome
			cause   error
		}{
			{"no topic", t.Context(), Message{}, Refused, ErrInvalid},
			{"unknown topic", t.Context(), Message{Topic: "unknown"}, NotSent, ErrUnknownTopic},
			{"topic without partitions", t.Context(), Message{Topic: "empty"}, NotSent, ErrUnknownTopic},
			{"no such partition", t.Context(), Message{Topic: "t", Partition: 2}, Refused, ErrInvalid},
			{"ended", ended, msg("a1"), NotSent, context.Canceled},
			{"ended while it asks", ended, Message{Topic: "slow"}, NotSent, context.Canceled},
		} {
			err := p.PublishAsync(c.ctx, c.message, n.of(c.name))
			if err == nil {
				t.Fatalf("%s: no error", c.name)
			}
			wantError(t, err, c.outcome, c.cause)
		}
		wantError(t, p.PublishAsync(t.Context(), msg("a1"), nil), Refused, ErrInvalid)
		want(t, n.read())
		want(t, d.sent())
	})
}

// stray is a partitioner that chooses what does not exist.
type stray struct{ err error }

func (s stray) Partition(*Message, int) (int32, error) { return -1, s.err }

func TestPartitionerErrsForGood(t *testing.T) {
	for _, c := range []struct{ err, want error }{{nil, ErrInvalid}, {errBroken, errBroken}} {
		p := newTestPublisher(t, &desk{}, Features{}, PublisherConfig{Partitioner: stray{c.err}})
		_, err := p.Publish(t.Context(), msg("a1"))
		wantError(t, err, Refused, c.want)
	}
}

func TestNewPublisherNamesTheField(t *testing.T) {
	for field, cfg := range map[string]PublisherConfig{
		"Order":            {Order: 2},
		"MaxInFlight":      {MaxInFlight: 10, MaxBuffered: 9},
		"MaxBuffered":      {MaxBuffered: -1},
		"MaxBufferedBytes": {MaxBufferedBytes: -1},
		"MaxMessageBytes":  {MaxMessageBytes: 65 << 20},
		"RetryMin":         {RetryMin: 2, RetryMax: 1},
		"RetryMax":         {RetryMax: -1},
	} {
		_, err := NewPublisher(&desk{}, Features{}, cfg)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "PublisherConfig."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestDefaultsAgreeWithWhatIsSet(t *testing.T) {
	for _, c := range []PublisherConfig{
		{},
		{MaxInFlight: 100_000},
		{MaxBuffered: 10},
		{MaxBufferedBytes: 1000},
		{RetryMin: time.Minute},
		{RetryMax: time.Millisecond},
	} {
		full := c.withDefaults()
		if err := full.validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if full.MaxInFlight == 0 || full.MaxMessageBytes == 0 || full.RetryMin == 0 || full.Partitioner == nil {
			t.Errorf("%+v: %+v", c, full)
		}
	}
}

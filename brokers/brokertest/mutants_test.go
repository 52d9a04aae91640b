package brokertest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

// mutation is a broken driver and the test that is to find it.
type mutation struct {
	name  string
	test  string // that must fail
	says  string // in the failure
	cfg   memory.Config
	hooks hooks
}

var mutations = slices.Concat(fetchMutations, ackMutations, ownershipMutations, messageMutations, publishMutations, otherMutations)

var fetchMutations = []mutation{
	{name: "loses a message", test: "Fetch/Once", says: "after 19 of 20 messages", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if len(got) > 5 {
				got = slices.Delete(got, 3, 4)
			}
			return got, err
		},
	}},
	{name: "loses what a cancelled Fetch had", test: "Fetch/Cancelled", says: "Fetch: context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if ctx.Done() != nil && p.calls%4 == 3 && len(got) == 1 {
				got, err = nil, context.DeadlineExceeded
			}
			p.calls++
			return got, err
		},
	}},
	{name: "duplicates a message", test: "Fetch/Once", says: "want nothing until the deadline", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if len(p.kept) > 0 {
				again := p.kept
				p.kept = nil
				return again, nil
			}
			got, err := p.Partition.Fetch(ctx, l)
			if len(got) > 0 && p.calls == 0 {
				p.kept = []brokers.Message{got[len(got)-1].Clone()}
				p.calls++
			}
			return got, err
		},
	}},
	{name: "reorders messages", test: "Fetch/Once", says: "want numbers 0 to 19", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if len(got) > 2 {
				got[1], got[2] = got[2], got[1]
			}
			return got, err
		},
	}},
	{name: "ignores the limit of messages", test: "Fetch/LimitMessages", says: "want 1 to 7", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			l.Messages++
			return p.Partition.Fetch(ctx, l)
		},
	}},
	{name: "ignores the limit of bytes", test: "Fetch/LimitBytes", says: "want at most 400 bytes", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			l.Bytes = 0
			return p.Partition.Fetch(ctx, l)
		},
	}},
	{name: "never returns what is over the limit of bytes", test: "Fetch/Large", says: "Fetch: context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if l.Bytes == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return p.Partition.Fetch(ctx, l)
		},
	}},
	{name: "returns nothing rather than wait", test: "Fetch/Waits", says: "want nothing until the deadline", hooks: hooks{
		fetch: func(_ context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			got, err := p.Partition.Fetch(ctx, l)
			if errors.Is(err, context.DeadlineExceeded) {
				err = nil
			}
			return got, err
		},
	}},
	{name: "does not heed the context of Fetch", test: "Fetch/Waits", says: "Fetch: did not return", hooks: hooks{
		fetch: func(_ context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			return p.Partition.Fetch(context.Background(), l)
		},
	}},
	{name: "keeps what it handed out", test: "Fetch/Owned", says: "payload: got \"!!!\"", hooks: hooks{
		fetch: func() func(context.Context, *partition, brokers.FetchLimit) ([]brokers.Message, error) {
			handedOut := map[int64]brokers.Message{}
			return func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
				got, err := p.Partition.Fetch(ctx, l)
				for i, m := range got {
					if old, ok := handedOut[m.Offset]; ok {
						got[i].Payload, got[i].Headers = old.Payload, old.Headers
					}
					handedOut[m.Offset] = got[i]
				}
				return got, err
			}
		}(),
	}},
	{name: "has less room than MaxUnsettled", test: "Fetch/Unsettled", says: "after 10 of 20 messages", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.MaxUnsettled /= 2 },
	}},
	{name: "gives no room back for a single acknowledgement", test: "Fetch/UnsettledAbove", says: "Fetch: context deadline exceeded", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo})
		},
	}},
	{name: "takes a paused partition away", test: "Fetch/PauseOne", says: "was taken away from an owner that paused", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if p.calls++; p.calls == 5 {
				for at, other := range p.mutant.latest {
					if at.topic == p.Topic() && other.calls == 0 {
						_ = other.Partition.Close(ctx)
					}
				}
			}
			return p.Partition.Fetch(ctx, l)
		},
	}},
}

var ackMutations = []mutation{
	{name: "acknowledges past a gap", test: "Ack/GapHolds", says: "Fetch: context deadline exceeded", cfg: memory.Config{CumulativeOnly: true}, hooks: hooks{
		ack: ackPastGap,
	}},
	{name: "acknowledges past a gap that it could leave", test: "Ack/AboveGap", says: "after 1 of 4 messages", hooks: hooks{
		ack: ackPastGap,
	}},
	{name: "forgets what is settled above a gap", test: "Ack/AboveGap", says: "want numbers 2, 4, 5, 7", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error { return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo}) },
	}},
	{name: "says yes to an ended epoch", test: "Ack/AfterClose", says: "Ack of an ended epoch: got error <nil>", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			if err := p.Partition.Ack(a); !errors.Is(err, brokers.ErrRevoked) {
				return err
			}
			return nil
		},
	}},
	{name: "lets an ended epoch acknowledge", test: "Ack/AfterClose", says: "Fetch: context deadline exceeded", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			_ = p.current().Partition.Ack(a)
			return p.Partition.Ack(a)
		},
	}},
	{name: "lets an epoch acknowledge after a reconnect", test: "Ack/AfterDisconnect", says: "got error <nil>", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error {
			_ = p.Partition.Ack(a)
			return nil
		},
	}},
	{name: "loses the acknowledgements before Close", test: "Ack/Prefix", says: "want numbers 4 to 9", hooks: hooks{
		ack: func(*partition, brokers.Ack) error { return nil },
	}},
	{name: "acknowledges what it prefetched", test: "Ack/FetchedOnly", says: "Fetch: context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			if len(p.kept) == 0 {
				got, err := p.Partition.Fetch(ctx, brokers.FetchLimit{Messages: 100})
				if err != nil {
					return nil, err
				}
				p.kept = got
			}
			n := min(l.Messages, len(p.kept))
			got := p.kept[:n:n]
			p.kept = p.kept[n:]
			return got, nil
		},
		closeOf: func(ctx context.Context, p *partition) error {
			if len(p.kept) > 0 {
				_ = p.Partition.Ack(brokers.Ack{UpTo: p.kept[len(p.kept)-1].Offset})
			}
			return p.Partition.Close(ctx)
		},
	}},
	{name: "does not count deliveries", test: "Ack/DeliveryCount", says: "has DeliveryCount 1", cfg: memory.Config{CountDeliveries: true}, hooks: hooks{
		received: func(m *brokers.Message) { m.DeliveryCount = 1 },
	}},
	{name: "counts deliveries and does not say so", test: "Ack/DeliveryNotCounted", says: "want 0", hooks: hooks{
		received: func(m *brokers.Message) { m.DeliveryCount = 1 },
	}},
}

func ackPastGap(p *partition, a brokers.Ack) error {
	return p.Partition.Ack(brokers.Ack{UpTo: slices.Max(append(a.Above, a.UpTo))})
}

var ownershipMutations = []mutation{
	{name: "offers a partition whose old epoch is open", test: "Accept/AfterClose", says: "epoch", hooks: hooks{
		accepted: func(p *partition) {
			go func() {
				<-p.Partition.Context().Done()
				_ = p.Partition.Close(context.Background())
			}()
		},
	}},
	{name: "gives a partition over while its owner drains", test: "Revoking/Drains", says: "Accept: got partition", hooks: hooks{
		context: func(*partition) context.Context { return context.Background() },
		accepted: func(p *partition) {
			go func() {
				<-p.Partition.Revoking()
				_ = p.Partition.Close(context.Background())
			}()
		},
	}},
	{name: "ends an epoch that it wants back at once", test: "Revoking/Drains", says: "the epoch ended together with Revoking", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.DrainTimeout = time.Nanosecond },
	}},
	{name: "forgets Revoking", test: "Revoking/Drains", says: "no partition was wanted back", hooks: hooks{
		revoking: func(*partition) <-chan struct{} { return nil },
	}},
	{name: "fetches on when it is to drain", test: "Revoking/WakesFetch", says: "a waiting Fetch: got error context deadline exceeded", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			for {
				got, err := p.Partition.Fetch(ctx, l)
				if !errors.Is(err, brokers.ErrRevoked) || p.Partition.Context().Err() != nil {
					return got, err
				}
				<-p.Partition.Context().Done()
			}
		},
	}},
	{name: "cuts DrainTimeout short", test: "Revoking/DrainTimeout", says: "want at least DrainTimeout", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.DrainTimeout /= 4 },
	}},
	{name: "never ends an epoch that is not closed", test: "Revoking/DrainTimeout", says: "end of epoch", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.DrainTimeout = time.Hour },
	}},
	{name: "uses an epoch's number again", test: "Accept/EpochsGrow", says: "want a greater one", hooks: hooks{
		number:   func(*partition) uint64 { return 7 },
		received: func(m *brokers.Message) { m.Epoch = 7 },
	}},
	{name: "stamps messages with another epoch", test: "Message/Receipt", says: "came from partition", hooks: hooks{
		received: func(m *brokers.Message) { m.Epoch++ },
	}},
	{name: "gives no cause", test: "Close/Partition", says: "cause of Partition.Context", hooks: hooks{
		context: func(p *partition) context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			context.AfterFunc(p.Partition.Context(), cancel)
			return ctx
		},
	}},
	{name: "keeps epochs alive over a lost connection", test: "Accept/AfterReconnect", says: "end of epoch", hooks: hooks{
		context: func(*partition) context.Context { return context.Background() },
	}},
	{name: "owns without exclusion", test: "Balance/Stopped", says: "had not closed it", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.Group += cfg.Member },
	}},
	{name: "lets one member keep everything", test: "Balance/Stopped", says: "not within one of even", hooks: hooks{
		config: func(m *mutant, cfg *brokers.SubscriptionConfig) {
			if members := m.Server().Members(cfg.Group); len(members) > 0 {
				cfg.Topics = []string{"elsewhere"}
			}
		},
	}},
	{name: "repeats what was acknowledged at a hand-over", test: "Balance/Stopped", says: "were handled again", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error { return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo - 1}) },
	}},
	{name: "does not notice the dead", test: "Balance/Killed", says: "messages of each partition are handled: not within", hooks: hooks{
		disconnect: func(*mutant) {},
	}},
	{name: "skips what its dead predecessor was handling", test: "Balance/KilledAtWork", says: "came when", hooks: hooks{
		fetch: func(ctx context.Context, p *partition, l brokers.FetchLimit) ([]brokers.Message, error) {
			got, err := p.Partition.Fetch(ctx, l)
			if p.calls++; p.calls == 1 && len(got) > 0 && got[0].Offset > 0 {
				got = got[1:]
			}
			return got, err
		},
	}},
	{name: "handles what the owner gave up once more", test: "Balance/StoppedAtWork", says: "were handled again", hooks: hooks{
		ack: func(p *partition, a brokers.Ack) error { return p.Partition.Ack(brokers.Ack{UpTo: a.UpTo - 1}) },
	}},
	{name: "misses a topic that is made later", test: "Topic/MadeLater", says: "Accept: context deadline exceeded", hooks: hooks{
		config: func(m *mutant, cfg *brokers.SubscriptionConfig) {
			if m.Server().Partitions(cfg.Topics[0]) == 0 {
				cfg.Topics = []string{cfg.Topics[0] + "-"}
			}
		},
	}},
	{name: "starts at the oldest whatever is asked", test: "Subscribe/StartLatest", says: "published before the group came", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.Start = brokers.StartEarliest },
	}},
	{name: "starts at the newest whatever is asked", test: "Subscribe/StartEarliest", says: "Fetch: context deadline exceeded", hooks: hooks{
		config: func(_ *mutant, cfg *brokers.SubscriptionConfig) { cfg.Start = brokers.StartLatest },
	}},
	{name: "gives competing members copies", test: "Competing/Shares", says: "want once", hooks: hooks{
		config: func(m *mutant, cfg *brokers.SubscriptionConfig) { cfg.Group += fmt.Sprintf("%p", m) },
	}},
	{name: "keeps what a competing member gives back", test: "Competing/GivesBack", says: "Fetch: context deadline exceeded", hooks: hooks{
		closeOf: func(ctx context.Context, p *partition) error {
			_ = p.Partition.Ack(brokers.Ack{UpTo: 100})
			return p.Partition.Close(ctx)
		},
	}},
}

var messageMutations = []mutation{
	{name: "takes a nil payload for an empty one", test: "Message/Payloads", says: "payload: got \"\"; want nil", hooks: hooks{
		received: func(m *brokers.Message) { m.Payload = append([]byte{}, m.Payload...) },
	}},
	{name: "takes an empty payload for nil", test: "Message/Payloads", says: "payload: got nil; want \"\"", hooks: hooks{
		received: func(m *brokers.Message) { m.Payload = append([]byte(nil), m.Payload...) },
	}},
	{name: "takes no key for an empty one", test: "Message/Keys", says: "key: got \"\"; want nil", hooks: hooks{
		received: func(m *brokers.Message) { m.Key = append([]byte{}, m.Key...) },
	}},
	{name: "makes text of keys", test: "Message/Keys", says: "key: got", hooks: hooks{
		received: func(m *brokers.Message) {
			if m.Key != nil {
				m.Key = bytes.ToValidUTF8(m.Key, []byte("?"))
			}
		},
	}},
	{name: "keeps one header of a key", test: "Message/Headers", says: "headers: got", hooks: hooks{
		received: func(m *brokers.Message) {
			for i := 0; i < len(m.Headers); i++ {
				m.Headers = append(m.Headers[:i+1], slices.DeleteFunc(m.Headers[i+1:], func(h brokers.Header) bool { return h.Key == m.Headers[i].Key })...)
			}
		},
	}},
	{name: "sorts headers", test: "Message/Headers", says: "header 0: got", hooks: hooks{
		received: func(m *brokers.Message) {
			slices.SortStableFunc(m.Headers, func(a, b brokers.Header) int { return strings.Compare(a.Key, b.Key) })
		},
	}},
	{name: "trims header values", test: "Message/Headers", says: "got {\"spaces\": \"v\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Value = bytes.TrimSpace(h.Value) }),
	}},
	{name: "takes a nil header value for an empty one", test: "Message/Headers", says: "{\"nil\": \"\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Value = append([]byte{}, h.Value...) }),
	}},
	{name: "changes the case of header keys", test: "Message/Headers", says: "{\"upper-case\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Key = strings.ToLower(h.Key) }),
	}},
	{name: "forgets header kinds", test: "Message/HeaderKinds", says: "want {\"string\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Kind = brokers.KindBytes }),
	}},
	{name: "drops ReplyTo", test: "Message/Fields", says: "ReplyTo: got \"\"", hooks: hooks{
		received: func(m *brokers.Message) { m.ReplyTo = "" },
	}},
	{name: "stamps its own time", test: "Message/Fields", says: "Time: got", hooks: hooks{
		received: func(m *brokers.Message) { m.Time = time.Now() },
	}},
	{name: "leaves the time out", test: "Message/TimeDefault", says: "want about now", hooks: hooks{
		received: func(m *brokers.Message) { m.Time = time.Time{} },
	}},
	{name: "gives all messages one ID", test: "Message/IDDefault", says: "want three", hooks: hooks{
		received: func(m *brokers.Message) { m.ID = "id" },
	}},
	{name: "ignores TTL", test: "Message/TTL", says: "want numbers 1 to 1", hooks: hooks{
		sent: func(m *brokers.Message) { m.TTL = 0 },
	}},
}

func eachHeader(f func(*brokers.Header)) func(*brokers.Message) {
	return func(m *brokers.Message) {
		for i := range m.Headers {
			f(&m.Headers[i])
		}
	}
}

var publishMutations = []mutation{
	{name: "mixes receipts up", test: "Publish/Receipts", says: "receipt", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			var last brokers.Receipt
			for _, o := range batch {
				receipt, err := r.publish(context.Background(), o.Message, o.Partition)
				o.Done(last, err)
				last = receipt
			}
		},
	}},
	{name: "ignores the partition", test: "Publish/ByKey", says: "", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				o.Done(r.publish(context.Background(), o.Message, 0))
			}
		},
	}},
	{name: "sends a batch backwards", test: "Publish/Many", says: "has payload", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range slices.Backward(batch) {
				r.pass(context.Background(), o)
			}
		},
	}},
	{name: "confirms what it did not store", test: "Publish/Many", says: "Fetch: context deadline exceeded", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for i, o := range batch {
				if i%100 == 99 {
					o.Done(brokers.Receipt{Topic: o.Message.Topic, Partition: o.Partition, Offset: brokers.NoOffset}, nil)
					continue
				}
				r.pass(context.Background(), o)
			}
		},
	}},
	{name: "stores after it confirmed", test: "Publish/Copies", says: "payload: got", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				m, partition := *o.Message, o.Partition
				o.Done(brokers.Receipt{Topic: m.Topic, Partition: partition, Offset: brokers.NoOffset}, nil)
				time.AfterFunc(20*time.Millisecond, func() { _, _ = r.publish(context.Background(), &m, partition) })
			}
		},
	}},
	{name: "fails the neighbours of a large message", test: "Publish/RefusedByServer", says: "want a PublishError of index 1 of 3 only", cfg: memory.Config{MaxMessageBytes: 2 << 20}, hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			large := slices.ContainsFunc(batch, func(o *brokers.Outbound) bool { return o.Message.Size() > 2<<20 })
			for _, o := range batch {
				if large {
					o.Done(brokers.Receipt{}, &brokers.SendError{Outcome: brokers.Refused, Err: brokers.ErrTooLarge})
					continue
				}
				r.pass(context.Background(), o)
			}
		},
	}},
	{name: "does not recognise duplicates", test: "Publish/Deduplicated", says: "to be a duplicate", cfg: memory.Config{DedupWindow: time.Minute}, hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				receipt, err := r.publish(context.Background(), o.Message, o.Partition)
				receipt.Duplicate = false
				o.Done(receipt, err)
			}
		},
	}},
	{name: "loses what is published while cut off", test: "Publish/WhileDisconnected", says: "", hooks: hooks{
		send: func(r *relay, batch []*brokers.Outbound) {
			for _, o := range batch {
				if !r.mutant.Broker.Health(context.Background()).Connected {
					o.Done(brokers.Receipt{Topic: o.Message.Topic, Partition: o.Partition}, nil)
					continue
				}
				r.pass(context.Background(), o)
			}
		},
	}},
}

var otherMutations = []mutation{
	{name: "takes any partition count", test: "Topic/EnsureMismatch", says: "gave no error", hooks: hooks{
		ensureTopic: func(m *mutant, cfg brokers.TopicConfig) error {
			if n := m.Server().Partitions(cfg.Name); n > 0 {
				cfg.Partitions = n
			}
			return m.Broker.EnsureTopic(context.Background(), cfg)
		},
	}},
	{name: "names no partition counts", test: "Topic/EnsureMismatch", says: "does not name both counts", hooks: hooks{
		ensureTopic: func(m *mutant, cfg brokers.TopicConfig) error {
			if m.Broker.EnsureTopic(context.Background(), cfg) != nil {
				return errors.New("failed")
			}
			return nil
		},
	}},
	{name: "always says connected", test: "Health/Disconnected", says: "Health says disconnected", hooks: hooks{
		health: func(h *brokers.Health) { h.Connected, h.Err = true, nil },
	}},
	{name: "does not list partitions", test: "Health/States", says: "StateOwning", hooks: hooks{
		health: func(h *brokers.Health) {
			for i := range h.Subscriptions {
				h.Subscriptions[i].Partitions = nil
			}
		},
	}},
	{name: "leaks a goroutine", test: "Close/Goroutines", says: "goroutines run on after Close", hooks: hooks{
		accepted: func(*partition) { go func() { select {} }() },
	}},
	{name: "closes a partition once only", test: "Close/Partition", says: "Partition.Close: closed twice", hooks: hooks{
		closeOf: func(ctx context.Context, p *partition) error {
			if p.Partition.Context().Err() != nil {
				return errors.New("closed twice")
			}
			return p.Partition.Close(ctx)
		},
	}},
	{name: "closes a partition and releases nothing", test: "Close/PartitionCancelled", says: "end of epoch", hooks: hooks{
		closeOf: func(ctx context.Context, p *partition) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return p.Partition.Close(ctx)
		},
	}},
	{name: "closes a membership without a drain", test: "Close/Subscription", says: "the epoch ended before its owner could drain", hooks: hooks{
		closeSub: func(_ context.Context, s *subscription) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = s.Subscription.Close(ctx)
			return nil
		},
	}},
	{name: "waits for ever for a drain", test: "Close/SubscriptionCancelled", says: "Subscription.Close: did not return", hooks: hooks{
		closeSub: func(_ context.Context, s *subscription) error { return s.Subscription.Close(context.Background()) },
	}},
	{name: "accepts on after Close", test: "Close/Subscription", says: "Accept during Close: got error context deadline exceeded", hooks: hooks{
		accept: func(ctx context.Context, s *subscription) (brokers.Partition, error) {
			p, err := s.next(ctx)
			if errors.Is(err, brokers.ErrClosed) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return p, err
		},
	}},
	{name: "does not heed the context of Accept", test: "Accept/Cancelled", says: "Accept with an ended context: got error <nil>", hooks: hooks{
		accept: func(_ context.Context, s *subscription) (brokers.Partition, error) {
			return s.next(context.Background())
		},
	}},
	{name: "leaves memberships open", test: "Close/Broker", says: "Fetch during Broker.Close: got error context deadline exceeded", hooks: hooks{
		closeBroker: func(*mutant) error { return nil },
	}},
}

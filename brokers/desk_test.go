package brokers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a Sender whose messages lie there until the test decides.
type desk struct {
	partitions func(ctx context.Context, topic string) (int, error)
	shut       chan struct{} // if set, Send blocks until it is closed, or ctx ends
	stalled    error
	closeError error

	mu      sync.Mutex
	lying   []*Outbound
	log     []string // of all that was sent
	flushes int
	closes  int
}

func (d *desk) Partitions(ctx context.Context, topic string) (int, error) {
	if d.partitions != nil {
		return d.partitions(ctx, topic)
	}
	return 12, nil
}

func (d *desk) Send(ctx context.Context, batch []*Outbound) {
	d.mu.Lock()
	for _, o := range batch {
		d.lying = append(d.lying, o)
		d.log = append(d.log, fmt.Sprintf("%s@%d", o.Message.ID, o.Attempt))
	}
	d.mu.Unlock()
	if d.shut != nil {
		select {
		case <-d.shut:
		case <-ctx.Done():
		}
	}
}

func (d *desk) Flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushes++
}

func (d *desk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closes++
	return d.closeError
}

func (d *desk) Stalled() error { return d.stalled }

// sent returns what was sent until all goroutines wait, as id@attempt.
func (d *desk) sent() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	log := d.log
	d.log = nil
	return log
}

// answer takes the message from the desk and answers it.
func (d *desk) answer(t *testing.T, id string, err error) {
	t.Helper()
	synctest.Wait()
	o := d.take(t, id)
	o.Done(Receipt{Topic: o.Message.Topic, Partition: o.Partition, Offset: 7}, err)
	synctest.Wait()
}

func (d *desk) confirm(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		d.answer(t, id, nil)
	}
}

func (d *desk) take(t *testing.T, id string) *Outbound {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.lying, func(o *Outbound) bool { return o.Message.ID == id })
	if i < 0 {
		t.Fatalf("the sender does not have %q", id)
	}
	o := d.lying[i]
	d.lying = slices.Delete(d.lying, i, i+1)
	return o
}

// want fails the test unless got has exactly these.
func want(t *testing.T, got []string, ids ...string) {
	t.Helper()
	if !slices.Equal(got, ids) {
		t.Errorf("got %q, want %q", got, ids)
	}
}

// wantError fails the test unless err is of that outcome and cause.
func wantError(t *testing.T, err error, outcome Outcome, cause error) {
	t.Helper()
	var e *SendError
	if !errors.As(err, &e) || e.Outcome != outcome || !errors.Is(err, cause) {
		t.Errorf("error %q, want outcome %q and cause %q", err, outcome, cause)
	}
}

// notes collects what callbacks say.
type notes struct {
	mu    sync.Mutex
	lines []string
	errs  map[string]error
}

func (n *notes) of(id string) func(Receipt, error) {
	return func(_ Receipt, err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.errs == nil {
			n.errs = map[string]error{}
		}
		n.lines = append(n.lines, id)
		n.errs[id] = err
	}
}

// read returns who was called back since the last time, and why with an error.
func (n *notes) read() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return lines
}

// newTestPublisher makes a publisher in which the keys a to e share no lane: by
// chance, some could.
func newTestPublisher(t *testing.T, d *desk, f Features, cfg PublisherConfig) *Publisher {
	t.Helper()
	for {
		p, err := NewPublisher(d, f, cfg)
		if err != nil {
			t.Fatal(err)
		}
		taken := map[uint64]bool{}
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			taken[p.lane("t", 0, []byte(key), true)] = true
		}
		if len(taken) == 5 {
			return p
		}
	}
}

// msg is a message whose key is the first letter of its id.
func msg(id string) Message {
	return Message{ID: id, Topic: "t", Key: []byte(id[:1]), Payload: []byte("1234567890")}
}

// publish publishes asynchronously and notes the callbacks.
func publish(t *testing.T, p *Publisher, n *notes, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := p.PublishAsync(t.Context(), msg(id), n.of(id)); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
}

// closeNow closes without waiting for anything.
func closeNow(p *Publisher) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return p.Close(ctx)
}

// published is what a Publish returned.
type published struct {
	receipts []Receipt
	err      error
}

// start calls Publish in a goroutine of its own.
func start(ctx context.Context, p *Publisher, msgs ...Message) <-chan published {
	c := make(chan published, 1)
	go func() {
		receipts, err := p.Publish(ctx, msgs...)
		c <- published{receipts, err}
	}()
	synctest.Wait()
	return c
}

// batchSender confirms whole batches from a goroutine of its own, as a broker
// at no distance would.
type batchSender struct {
	batches chan []*Outbound
	spare   sync.Pool
	wg      sync.WaitGroup
}

func newBatchSender() *batchSender {
	s := &batchSender{batches: make(chan []*Outbound, 1024)}
	s.wg.Go(func() {
		for batch := range s.batches {
			for _, o := range batch {
				o.Done(Receipt{Topic: o.Message.Topic, Partition: o.Partition}, nil)
			}
			s.spare.Put(&batch)
		}
	})
	return s
}

func (s *batchSender) Partitions(context.Context, string) (int, error) { return 12, nil }

func (s *batchSender) Send(_ context.Context, batch []*Outbound) {
	kept, _ := s.spare.Get().(*[]*Outbound)
	if kept == nil {
		kept = new([]*Outbound)
	}
	s.batches <- append((*kept)[:0], batch...)
}

func (s *batchSender) Flush() {}

func (s *batchSender) Close() error {
	close(s.batches)
	s.wg.Wait()
	return nil
}

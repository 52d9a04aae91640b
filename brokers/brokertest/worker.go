package brokertest

import (
	"context"
	"errors"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// worker is a small runtime on a membership: it accepts partitions, handles
// their messages one by one, acknowledges each, and closes what is wanted back.
type worker struct {
	name   string
	env    *env
	conn   brokers.Broker
	sub    brokers.Subscription
	ledger *ledger
	// handle is called for each message before it is entered in the ledger and
	// acknowledged. It may block.
	handle  func(brokers.Partition, *brokers.Message)
	running sync.WaitGroup
	dead    bool // guarded by ledger.mu
}

// work starts a worker on a connection of its own.
func (e *env) work(name string, l *ledger, cfg brokers.SubscriptionConfig, handle func(brokers.Partition, *brokers.Message)) *worker {
	e.Helper()
	conn := e.open()
	cfg.Member = name
	w := &worker{name: name, env: e, conn: conn, ledger: l, handle: handle}
	w.sub = e.subscribeAs(conn, cfg)
	e.Cleanup(func() {
		e.ok(e.returns("the worker's end", w.end), "the worker's end")
	})
	w.running.Go(w.acceptAll)
	return w
}

// end cuts the worker short and waits for its goroutines.
func (w *worker) end() error {
	// Its result depends on what the worker had to leave.
	_ = w.sub.Close(ended())
	w.running.Wait()
	return nil
}

func (w *worker) acceptAll() {
	for {
		p, err := w.sub.Accept(context.Background())
		if errors.Is(err, brokers.ErrClosed) {
			return
		}
		if err != nil {
			w.ledger.broken(w, "Accept", err)
			return
		}
		t := w.ledger.accepted(w, p)
		w.running.Go(func() { w.own(t) })
	}
}

// own handles a partition until it is wanted back or lost.
func (w *worker) own(t *tenure) {
	for w.step(t) {
	}
	w.ledger.closing(t)
	lost := t.p.Context().Err() != nil
	ctx, cancel := context.WithTimeout(context.Background(), w.env.h.Wait)
	defer cancel()
	err := t.p.Close(ctx)
	if err != nil && t.p.Context().Err() == nil {
		w.ledger.broken(w, "Partition.Close", err)
	}
	if lost || err != nil {
		w.ledger.wasLost()
	}
}

// step fetches and handles one batch; false when the partition is to be closed.
func (w *worker) step(t *tenure) bool {
	batch, err := t.p.Fetch(context.Background(), brokers.FetchLimit{Messages: 16})
	if err != nil {
		if !errors.Is(err, brokers.ErrRevoked) {
			w.ledger.broken(w, "Fetch", err)
		}
		return false
	}
	for i := range batch {
		// Once the partition is wanted back, nothing more is started.
		if happened(t.p.Revoking()) || t.p.Context().Err() != nil {
			return false
		}
		w.handle(t.p, &batch[i])
		if !w.ledger.handled(t, &batch[i]) {
			continue
		}
		err := t.p.Ack(brokers.Ack{UpTo: batch[i].Offset})
		if err != nil && !errors.Is(err, brokers.ErrRevoked) {
			w.ledger.broken(w, "Ack", err)
		}
	}
	return true
}

// stop leaves the group with a drain.
func (w *worker) stop() {
	w.env.Helper()
	w.env.leave(w.sub)
}

// kill cuts the worker off.
func (w *worker) kill() {
	w.env.Helper()
	w.ledger.died(w)
	w.env.ok(w.env.h.Kill(w.conn), "Harness.Kill")
}

func handleAll(brokers.Partition, *brokers.Message) {}

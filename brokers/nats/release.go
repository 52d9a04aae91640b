package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

var nak = []byte("-NAK")

// release ends the feed and gives back what it has: it sends the last
// acknowledgements, hands what is unacknowledged to the next owner, and lets go
// of the pin. If ctx ends it goes on without waiting. An error means that
// acknowledged messages may come again. Later calls return the first one's
// result.
func (f *feed) release(ctx context.Context) error {
	f.releaseOnce.Do(func() { f.released = f.giveBack(ctx) })
	return f.released
}

func (f *feed) giveBack(ctx context.Context) error {
	defer f.cancel(fmt.Errorf("%w: %w", brokers.ErrRevoked, errReleased))
	over := f.close(ctx)
	f.mu.Lock()
	pin, acks, rest := f.pin, f.acks.all(), f.unacknowledged()
	f.acks.floor++
	f.mu.Unlock()
	switch {
	case over != nil && len(acks) > 0:
		return fmt.Errorf("nats: %d acknowledgements are not confirmed: %w", len(acks), context.Cause(f.ctx))
	case over != nil:
		return nil
	case pin == "":
		f.sweep(ctx)
		return nil
	}
	err := f.tellAndWait(ctx, acks, nil)
	if err != nil {
		err = fmt.Errorf("nats: %d acknowledgements are not confirmed: %w", len(acks), err)
	}
	if !f.lane.prefix() {
		// The next owner finds by itself what this does not tell.
		_ = f.tellAndWait(ctx, rest, nak)
	}
	f.unpin(ctx)
	return err
}

// close ends what is fetched, acknowledged and received. It returns why the feed
// was over already, if it was.
func (f *feed) close(ctx context.Context) (over error) {
	f.mu.Lock()
	over = f.err
	if over == nil {
		f.err = errReleased
		f.acks.stop()
	}
	f.unlock()
	f.signal()
	f.acks.sending.Lock() // until what was being sent is
	defer f.acks.sending.Unlock()
	if over == nil {
		f.drain(ctx)
	}
	_ = f.sub.Unsubscribe() // it fails only without a connection, and then nothing is to be ended
	return over
}

// drain receives what the server has sent, which is given back with the rest,
// and has it send no more.
func (f *feed) drain(ctx context.Context) {
	if ctx.Err() != nil || f.lane.sub.b.link.isCut() {
		return
	}
	drained := make(chan struct{})
	f.sub.SetClosedHandler(func(string) { close(drained) })
	if f.sub.Drain() != nil {
		return // there is no connection
	}
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// unacknowledged lists what was received and not settled. It needs f.mu.
func (f *feed) unacknowledged() []uint64 {
	seqs := slices.Collect(f.ledger.unsettled())
	for i, waiting := 0, f.queue.list(); i < len(waiting); i++ {
		seqs = append(seqs, uint64(waiting[i].Offset))
	}
	return append(seqs, f.late...)
}

// unpin lets another member have the partition at once. Without it the server
// waits for PinnedTTL, so that it fails is nothing to report.
func (f *feed) unpin(ctx context.Context) {
	body, _ := json.Marshal(map[string]string{"group": pinGroup}) // it cannot fail
	if ctx.Err() != nil {
		_ = f.nc.PublishRequest(f.lane.unpin, f.inbox+"unpin", body)
		return
	}
	_, _ = f.nc.RequestWithContext(ctx, f.lane.unpin, body)
}

// sweep has the server drop the requests of a member that stood by. It would
// find out when the next message comes, and pin the member that is gone.
func (f *feed) sweep(ctx context.Context) {
	body := pullRequest{messages: 1, bytes: 1, expires: sweepExpiry}.body()
	if ctx.Err() != nil {
		_ = f.nc.PublishRequest(f.lane.next, f.inbox+"sweep", body)
		return
	}
	_, _ = f.nc.RequestWithContext(ctx, f.lane.next, body)
}

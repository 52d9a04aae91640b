package chaos

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// errFlaky is what one message in fifty fails with at first.
var errFlaky = errors.New("chaos: flaky")

// handler handles messages of the workload and writes down what it does. It
// heeds its context.
type handler struct {
	member  string
	journal *journal
	effects string        // the topic to publish to
	effort  time.Duration // the longest that a message takes; half of it on average
	// fault says why an attempt fails; nil if it does not. Defaults to flaky.
	fault func(m message, attempt int) error

	mu  sync.Mutex
	err error // the first that kept it from writing
}

// Receive implements [actors.Handler].
func (h *handler) Receive(ctx *actors.Context) error {
	r, m, err := h.describe(ctx.Event())
	if err != nil {
		h.note(err)
		return err
	}
	h.write(r, Started, nil)
	err = h.handle(ctx, m, ctx.Attempt())
	if err == nil {
		err = ctx.Publish(h.effects, ctx.Event().Payload)
	}
	switch {
	case err == nil:
		h.write(r, Handled, nil)
	case ctx.Err() != nil:
		h.write(r, Cancelled, err)
	default:
		h.write(r, Failed, err)
	}
	return err
}

func (h *handler) describe(m *brokers.Message) (Record, message, error) {
	about, err := parse(m)
	return Record{
		Member: h.member, Partition: m.Partition, Epoch: m.Epoch, Offset: m.Offset,
		Key: about.key, Number: about.number,
	}, about, err
}

// handle takes as long as the message takes, or until ctx ends.
func (h *handler) handle(ctx context.Context, m message, attempt int) error {
	work := time.NewTimer(time.Duration(m.hash()%1000) * h.effort / 1000)
	defer work.Stop()
	select {
	case <-work.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if h.fault != nil {
		return h.fault(m, attempt)
	}
	return flaky(m, attempt)
}

func flaky(m message, attempt int) error {
	if attempt == 1 && m.hash()/1000%50 == 0 {
		return errFlaky
	}
	return nil
}

// hash is the message's own random number.
func (m message) hash() uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.key)) // a hash takes everything
	_, _ = h.Write([]byte{byte(m.number), byte(m.number >> 8)})
	return h.Sum32()
}

func (h *handler) write(r Record, kind Kind, why error) {
	r.Kind = kind
	if why != nil {
		r.Note = why.Error()
	}
	h.note(h.journal.write(r))
}

func (h *handler) note(err error) {
	if err == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
}

// observe writes down the runtime's events that the verdict needs.
func (h *handler) observe(e actors.Event) {
	at := func(kind Kind, p actors.Place, offset int64) {
		h.write(Record{Member: h.member, Partition: p.Partition, Epoch: p.Epoch, Offset: offset}, kind, nil)
	}
	switch e := e.(type) {
	case actors.Acknowledged:
		at(Acked, e.Place, e.UpTo)
	case actors.PartitionLost:
		at(Lost, e.Place, 0)
	}
}

// failure is what kept the handler from writing.
func (h *handler) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

package kafka

import (
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/troupe-go/troupe/brokers"
)

const (
	// maxOnWire is how many requests are under way to one node: while it works on
	// one the next is made.
	maxOnWire = 3
	// maxRequestBytes is where a request takes no more parcels.
	maxRequestBytes = 1 << 20
	// worthARequest is how many bytes make a request though more are to come.
	worthARequest = 64 << 10
)

// wire sends produce requests to one node. What is guarded is so by the sender's
// lock.
type wire struct {
	s       *sender
	node    int32
	encoder encoder

	// Guarded.
	due     []*track
	onWire  int
	running bool
	settled int // how many answers are being reported
	conn    *conn
	frames  [][]byte // memory for requests
}

func newWire(s *sender, node int32) *wire {
	return &wire{s: s, node: node, encoder: encoder{compression: s.c.cfg.Compression}}
}

// kick sees to it that what is due is sent. It needs the lock.
func (w *wire) kick() {
	if w.running || !w.canShip() {
		return
	}
	w.running = true
	w.s.running.Go(w.run)
}

// canShip says whether a request is to be sent now. While answers are reported
// the publisher has more messages for each, so that a small request waits for them.
func (w *wire) canShip() bool {
	if len(w.due) == 0 || w.onWire >= maxOnWire || w.s.closed {
		return false
	}
	if w.settled == 0 {
		return true
	}
	bytes := 0
	for _, t := range w.due {
		bytes += t.queue.bytes
	}
	return bytes >= worthARequest
}

// run sends while there is something to send.
func (w *wire) run() {
	for {
		load := w.load()
		if len(load) == 0 {
			return
		}
		w.ship(load)
	}
}

// load takes tracks that are due, with a parcel each, as many as a request holds.
func (w *wire) load() []*track {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if !w.canShip() {
		w.running = false
		return nil
	}
	cfg := &w.s.c.cfg
	var load []*track
	for bytes := 0; len(w.due) > 0 && bytes < maxRequestBytes; w.due = w.due[1:] {
		t := w.due[0]
		bytes += min(t.queue.bytes, cfg.BatchBytes)
		if t.parcel == nil {
			t.parcel = &parcel{outs: t.take(cfg.BatchMessages, cfg.BatchBytes)}
		}
		t.place = placeUnderWay
		load = append(load, t)
	}
	if len(w.due) == 0 {
		w.due = nil
	}
	w.onWire++
	return load
}

// ship makes a request of a load and sends it.
func (w *wire) ship(load []*track) {
	x, err := w.connect()
	if err == nil {
		err = w.identify(load)
	}
	var frame []byte
	if err == nil {
		if load = w.begin(load); len(load) == 0 {
			return
		}
		frame, err = w.frame(x, load)
	}
	if err != nil {
		w.failed(load, err)
		return
	}

	patience := w.s.c.cfg.RequestTimeout
	if w.s.c.cfg.Acks != AcksNone {
		x.send(frame, patience, func(answer []byte, err error) { w.answered(load, x, frame, answer, err) })
		return
	}
	if err := x.sendOnly(frame, patience); err != nil {
		w.failed(load, err)
		return
	}
	w.settle(load, frame, func(*track) (int16, int64) { return 0, brokers.NoOffset })
}

// begin takes from parcels that are about to be sealed what nobody wants any more. It
// returns the tracks that have a parcel still.
func (w *wire) begin(load []*track) []*track {
	var dropped []*brokers.Outbound
	for _, t := range load {
		if t.parcel.batch != nil {
			continue
		}
		var unwanted []*brokers.Outbound
		if t.parcel.outs, unwanted = brokers.Begin(t.parcel.outs); len(unwanted) > 0 {
			t.suspects = 0 // it may be one
			dropped = append(dropped, unwanted...)
		}
	}
	if len(dropped) == 0 {
		return load
	}
	w.s.mu.Lock()
	defer w.s.unlock()
	for _, o := range dropped {
		w.s.reports = append(w.s.reports, brokers.Result{Outbound: o, Err: &brokers.SendError{Outcome: brokers.NotSent, Err: o.Err()}})
	}
	load = slices.DeleteFunc(load, func(t *track) bool {
		if len(t.parcel.outs) > 0 {
			return false
		}
		t.parcel, t.place = nil, placeIdle
		w.s.place(t)
		return true
	})
	if len(load) == 0 {
		w.onWire--
	}
	return load
}

// connect returns the connection, and makes it first if there is none.
func (w *wire) connect() (*conn, error) {
	w.s.mu.Lock()
	x := w.conn
	w.s.mu.Unlock()
	if x != nil && x.failed() == nil {
		return x, nil
	}
	if x != nil {
		w.s.c.drop(x)
	}
	x, err := w.s.c.connect(w.s.ctx, w.node)
	w.s.mu.Lock()
	w.conn = x
	w.s.mu.Unlock()
	return x, err
}

// identify gives each track a producer that has none.
func (w *wire) identify(load []*track) error {
	if w.s.c.cfg.Acks != AcksAll {
		return nil
	}
	for _, t := range load {
		if t.producer.epoch >= 0 {
			continue
		}
		identify := w.s.identify
		if t.producer != noProducer { // its epochs are used up
			identify = func() (producer, error) { return w.s.c.newProducer(w.s.ctx) }
		}
		p, err := identify()
		if err != nil {
			return err
		}
		t.producer = p
	}
	return nil
}

// frame makes the request. New parcels are encoded in it; their batches are part
// of its memory.
func (w *wire) frame(x *conn, load []*track) ([]byte, error) {
	cfg := &w.s.c.cfg
	f, err := newProduceFrame(w.newFrame(), x, "", cfg.Acks, cfg.RequestTimeout)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(load, func(a, b *track) int { return strings.Compare(a.topic, b.topic) })
	now := time.Now()
	for _, t := range load {
		f.begin(t.topic, t.partition)
		if f.b, err = w.appendParcel(f.b, t, now); err != nil {
			return nil, err
		}
		f.end()
	}
	frame := f.finish()
	for i, t := range load {
		t.parcel.batch = f.batch(i)
	}
	return frame, nil
}

// appendParcel appends a track's batch, as it was if it was sealed before.
func (w *wire) appendParcel(b []byte, t *track, now time.Time) ([]byte, error) {
	if t.parcel.batch != nil {
		return append(b, t.parcel.batch...), nil
	}
	head := batchHead{producer: t.producer, sequence: t.sequence}
	if t.producer == noProducer {
		head.sequence = -1
	}
	outs := t.parcel.outs
	return w.encoder.appendBatch(b, head, len(outs), func(i int) *brokers.Message { return outs[i].Message }, now)
}

// failed is for a load that was not sent.
func (w *wire) failed(load []*track, err error) {
	w.s.mu.Lock()
	defer w.s.unlock()
	w.onWire--
	if w.s.closed {
		return
	}
	for _, t := range load {
		t.place = placeIdle
		if transient(err) {
			t.hold()
			w.s.stick(t, err)
			continue
		}
		w.s.reports = t.fail(err, w.s.reports)
	}
	w.kick()
}

// answered takes the answer to a load, in the goroutine of the connection.
func (w *wire) answered(load []*track, x *conn, request, frame []byte, err error) {
	var answers map[place]produced
	if err == nil {
		answers, err = readProduced(x, frame)
	}
	if err != nil {
		w.doubtful(load, err)
		return
	}
	w.settle(load, request, func(t *track) (int16, int64) {
		a, ok := answers[place{t.topic, t.partition}]
		if !ok {
			return int16(kafkago.RequestTimedOut), brokers.NoOffset // no answer to this one
		}
		return a.code, a.offset
	})
}

// doubtful is for a load that may have been stored.
func (w *wire) doubtful(load []*track, err error) {
	w.s.mu.Lock()
	defer w.s.unlock()
	w.onWire--
	if w.s.closed {
		return
	}
	for _, t := range load {
		t.parcel.doubt = true
		w.s.stick(t, err)
	}
	w.kick()
}

// settle does what the cluster's answer to each track means.
func (w *wire) settle(load []*track, frame []byte, answer func(*track) (code int16, offset int64)) {
	w.s.mu.Lock()
	defer w.s.unlock()
	w.onWire--
	if w.s.closed {
		return
	}
	reusable := true
	for _, t := range load {
		code, offset := answer(t)
		w.s.settle(t, code, offset)
		reusable = reusable && t.parcel == nil
	}
	if reusable {
		w.keepFrame(frame)
	}
	w.settled++
	w.s.unlock()
	w.s.mu.Lock()
	w.settled--
	w.kick()
}

// keepFrame keeps memory for another request, unless it is much.
func (w *wire) keepFrame(frame []byte) {
	if len(w.frames) < maxOnWire && cap(frame) <= 4*maxRequestBytes {
		w.frames = append(w.frames, frame)
	}
}

// newFrame returns memory for a request.
func (w *wire) newFrame() []byte {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	n := len(w.frames)
	if n == 0 {
		return make([]byte, 0, 64<<10)
	}
	frame := w.frames[n-1]
	w.frames = w.frames[:n-1]
	return frame[:0]
}

// settle does what the cluster's answer means for a track.
func (s *sender) settle(t *track, code int16, offset int64) {
	t.place = placeIdle
	what, err := fateOf(code)
	switch what {
	case fateStored:
		s.reports = t.stored(offset, s.reports)
	case fateRetry, fateDoubt:
		t.parcel.doubt = t.parcel.doubt || what == fateDoubt
		s.stick(t, err)
		return
	case fateRefused:
		s.reports = t.refused(err, s.reports)
	case fateLost:
		if s.reports = t.lost(err, s.reports); !t.idle() {
			s.stick(t, err)
			return
		}
	case fateFailed:
		s.reports = t.fail(err, s.reports)
	}
	s.place(t)
}

package nats

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// burstMark begins the last token of the subject on which the server confirms a
// burst of acknowledgements; the numbers of pulls have none.
const burstMark = "a"

// acks are a feed's acknowledgements. They are sent in bursts, the last of each
// with a request for its confirmation. The server takes them in order, so that
// stands for all before it. feed.mu guards all but sending.
type acks struct {
	sending sync.Mutex // held, before feed.mu, while some are being sent
	prefix  string     // of their subjects
	due     []uint64
	timer   *time.Timer
	set     bool // timer
	bursts  []burst
	count   uint64 // of bursts

	// Where only a prefix is acknowledged: what it ends with, and a consumer
	// sequence for it, which must grow with each acknowledgement and be none that
	// comes later than it.
	upTo  uint64
	floor uint64
}

// burst are acknowledgements that are not confirmed.
type burst struct {
	number uint64
	conn   uint64 // which connection they were sent on
	seqs   []uint64
}

// ackPrefix is a reply subject up to the consumer's name, and a dot.
func ackPrefix(reply string) string {
	tokens := strings.Count(reply, ".") + 1
	keep := 4 // $JS.ACK.<stream>.<consumer>
	if tokens >= 11 {
		keep = 6 // domain and account come before those
	}
	at := 0
	for range keep {
		at += strings.IndexByte(reply[at:], '.') + 1
	}
	return reply[:at]
}

// confirmed forgets what the server has.
func (a *acks) confirmed(text string) {
	number, err := strconv.ParseUint(text, 10, 64)
	i := slices.IndexFunc(a.bursts, func(b burst) bool { return b.number == number })
	if err != nil || i < 0 {
		return
	}
	conn := a.bursts[i].conn
	a.bursts = slices.DeleteFunc(a.bursts, func(b burst) bool { return b.number <= number && b.conn == conn })
}

func (a *acks) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// all returns what is not confirmed. Of prefixes the last one is all.
func (a *acks) all() []uint64 {
	var seqs []uint64
	for _, b := range a.bursts {
		seqs = append(seqs, b.seqs...)
	}
	seqs = append(seqs, a.due...)
	if a.upTo > 0 && len(seqs) > 0 {
		return seqs[len(seqs)-1:]
	}
	return seqs
}

// unconfirmed says whether a message is among those. Until then the server may
// deliver it once more.
func (a *acks) unconfirmed(seq uint64) bool {
	if a.upTo > 0 {
		return seq <= a.upTo && len(a.all()) > 0
	}
	return slices.Contains(a.all(), seq)
}

// settle notes what was settled. It returns [brokers.ErrRevoked] if the feed is
// over.
func (f *feed) settle(a brokers.Ack) error {
	f.mu.Lock()
	defer f.unlock()
	if f.err != nil {
		return context.Cause(f.ctx)
	}
	if f.lane.prefix() {
		f.settlePrefix(a)
		return nil
	}
	before := len(f.acks.due)
	f.acks.due = f.ledger.settle(f.acks.due, a.UpTo, a.Above)
	if len(f.acks.due) > before {
		f.scheduleAcks()
	}
	return nil
}

// settlePrefix is settle where only a prefix is acknowledged. It needs f.mu.
func (f *feed) settlePrefix(a brokers.Ack) {
	f.ledger.settle(nil, a.UpTo, a.Above)
	upTo := min(uint64(max(a.UpTo, 0)), f.ledger.last)
	if upTo > f.acks.upTo {
		f.acks.upTo = upTo
		f.acks.due = append(f.acks.due[:0], upTo)
		f.scheduleAcks()
	}
	f.refill()
}

// acknowledge has one message acknowledged, which was not fetched. While the feed
// collects what is unacknowledged nothing may lessen that. It needs f.mu.
func (f *feed) acknowledge(seq uint64) {
	if f.lane.prefix() {
		return // there may be a gap below it
	}
	f.acks.due = append(f.acks.due, seq)
	if f.flowing {
		f.scheduleAcks()
	}
}

// scheduleAcks sees to it that acks.due is sent. It needs f.mu.
func (f *feed) scheduleAcks() {
	a := &f.acks
	// What holds up the server does not wait. The larger a burst the cheaper.
	soon := 4*len(a.due) >= f.lane.sub.cfg.MaxUnsettled
	if a.set && !soon {
		return
	}
	after := f.lane.sub.cfg.AckInterval
	if soon {
		after = 0
	}
	a.set = true
	if a.timer == nil {
		a.timer = time.AfterFunc(after, f.sendAcks)
		return
	}
	a.timer.Reset(after)
}

// sendAcks sends what is due.
func (f *feed) sendAcks() {
	f.acks.sending.Lock()
	defer f.acks.sending.Unlock()
	f.mu.Lock()
	a := &f.acks
	a.set = false
	if f.err != nil || len(a.due) == 0 {
		f.mu.Unlock()
		return
	}
	a.count++
	b := burst{number: a.count, conn: f.nc.Stats().Reconnects, seqs: a.due}
	a.due = make([]uint64, 0, len(b.seqs))
	a.bursts = append(a.bursts, b)
	a.floor++
	subjects := f.ackSubjects(slices.Values(b.seqs))
	f.mu.Unlock()

	confirm := f.inbox + burstMark + strconv.FormatUint(b.number, 10)
	err := f.publishEach(subjects, len(b.seqs), nil, confirm)
	if err != nil || f.nc.Stats().Reconnects != b.conn {
		f.unsend()
	}
	if err == nil && f.nc.Stats().Reconnects != b.conn {
		f.repeatAcks() // the connection broke, and is back
	}
}

// unsend makes everything due again that is not confirmed.
func (f *feed) unsend() {
	f.mu.Lock()
	defer f.unlock()
	f.acks.due, f.acks.bursts = f.acks.all(), nil
}

// repeatAcks has everything sent again that is not confirmed, as after a lost
// connection.
func (f *feed) repeatAcks() {
	f.unsend()
	f.mu.Lock()
	defer f.unlock()
	if f.err == nil && len(f.acks.due) > 0 {
		f.acks.set = false
		f.scheduleAcks()
	}
}

// ackSubjects makes the subject on which each message is answered.
func (f *feed) ackSubjects(seqs iter.Seq[uint64]) iter.Seq[string] {
	head := f.acks.prefix + "1."
	// The server looks only at the stream's sequence, if the consumer's is one
	// that it has given.
	number := f.consumer
	if f.lane.prefix() {
		number = f.acks.floor
	}
	tail := "." + strconv.FormatUint(number, 10) + ".0.0"
	return func(yield func(string) bool) {
		b := make([]byte, 0, len(head)+20+len(tail))
		for seq := range seqs {
			b = append(strconv.AppendUint(append(b[:0], head...), seq, 10), tail...)
			if !yield(string(b)) {
				return
			}
		}
	}
}

// publishEach publishes body on n subjects, the last one with a reply.
func (f *feed) publishEach(subjects iter.Seq[string], n int, body []byte, reply string) error {
	i := 0
	for subject := range subjects {
		if i++; i == n && reply != "" {
			return f.nc.PublishRequest(subject, reply, body)
		}
		if err := f.nc.Publish(subject, body); err != nil {
			return err
		}
	}
	return nil
}

// tellAndWait publishes body for each of seqs and waits until the server has
// taken the last. If ctx has ended it does not wait.
func (f *feed) tellAndWait(ctx context.Context, seqs []uint64, body []byte) error {
	if len(seqs) == 0 {
		return nil
	}
	last := len(seqs) - 1
	if err := f.publishEach(f.ackSubjects(slices.Values(seqs[:last])), last, body, ""); err != nil {
		return err
	}
	for subject := range f.ackSubjects(slices.Values(seqs[last:])) {
		if ctx.Err() != nil {
			if err := f.nc.Publish(subject, body); err != nil {
				return err
			}
			return fmt.Errorf("%w", context.Cause(ctx))
		}
		if _, err := f.nc.RequestWithContext(ctx, subject, body); err != nil {
			return err
		}
	}
	return nil
}

package kafka

import (
	"errors"
	"fmt"
	"math"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/troupe-go/troupe/brokers"
)

// track is the way of messages to one partition: those that wait, and the parcel
// that is under way. It does no I/O; the sender's lock guards it.
type track struct {
	topic     string
	partition int32
	leader    int32

	queue  outbox
	parcel *parcel             // nil while there is none
	spare  []*brokers.Outbound // memory for the next

	// Where it waits: in at most one of the sender's lists.
	place trackPlace

	// producer numbers the messages; sequence is the next one's number.
	producer producer
	sequence int32

	// suspects are the messages at the head of the queue of which one is to blame
	// for a refusal. They go in parcels of at most portion.
	suspects, portion int
	// What the refused parcel had: see noteRefusal.
	refusedBytes int
	blamed       bool
	// largest is the most bytes that a parcel may have; 0 is no bound but the
	// config's.
	largest int

	// failures since the last success, and why and until when it waits for that.
	failures int
	err      error
	due      time.Time
	missing  int // how often the cluster did not know the topic
}

type trackPlace uint8

const (
	placeIdle      trackPlace = iota
	placeLingering            // for more messages
	placeDue                  // for its wire
	placeUnderWay
	placeStuck // for a leader, or the end of a back-off
)

// parcel is a batch that was sealed. It is sent again as it is.
type parcel struct {
	outs  []*brokers.Outbound
	batch []byte // encoded
	doubt bool   // an attempt may have been stored
}

// idle says that nothing is to be sent.
func (t *track) idle() bool { return t.parcel == nil && t.queue.len() == 0 }

// take takes from the queue what makes the next parcel.
func (t *track) take(most, bytes int) []*brokers.Outbound {
	if t.largest > 0 {
		bytes = min(bytes, t.largest)
	}
	if t.suspects > 0 {
		most = min(most, t.portion, t.suspects)
	}
	n, size := 0, 0
	for n < most && n < t.queue.len() {
		size += batchSize(t.queue.at(n).Message)
		if n > 0 && size > bytes {
			break
		}
		n++
	}
	return t.queue.take(n, t.spare)
}

// stored settles the parcel, whose first message has that offset.
func (t *track) stored(offset int64, reports []brokers.Result) []brokers.Result {
	for i, o := range t.parcel.outs {
		r := brokers.Receipt{Topic: t.topic, Partition: t.partition, Offset: brokers.NoOffset}
		if offset >= 0 {
			r.Offset = offset + int64(i)
		}
		reports = append(reports, brokers.Result{Outbound: o, Receipt: r})
	}
	t.advance(len(t.parcel.outs))
	t.cleared(len(t.parcel.outs), false)
	clear(t.parcel.outs)
	t.spare, t.parcel = t.parcel.outs[:0], nil
	t.failures, t.missing, t.err = 0, 0, nil
	return reports
}

// advance counts n messages.
func (t *track) advance(n int) { t.sequence = nextSequence(t.sequence, n) }

// nextSequence is the number of the message after n of them; after the largest
// number comes 0.
func nextSequence(sequence int32, n int) int32 { return (sequence + int32(n)) & math.MaxInt32 }

// refused is for a parcel that the cluster will never take, and has not. A
// single message is to blame for that, and fails. Of more than one the halves
// are tried.
func (t *track) refused(cause error, reports []brokers.Result) []brokers.Result {
	p := t.parcel
	t.parcel, t.spare = nil, nil
	t.failures, t.err = 0, nil
	n := len(p.outs)
	if n == 1 {
		t.cleared(1, true)
		return append(reports, brokers.Result{Outbound: p.outs[0], Err: &brokers.SendError{Outcome: brokers.Refused, Err: cause}})
	}
	if t.suspects == 0 {
		t.suspects, t.blamed, t.refusedBytes = n, false, 0
		if errors.Is(cause, brokers.ErrTooLarge) {
			t.refusedBytes = len(p.batch)
		}
	}
	t.portion = (n + 1) / 2
	t.queue.putBack(p.outs)
	return reports
}

// cleared says that n messages were stored or blamed. If none of the suspects
// was to blame, they were too large together, and the next parcels are smaller.
func (t *track) cleared(n int, blamed bool) {
	if t.suspects == 0 {
		return
	}
	t.suspects = max(t.suspects-n, 0)
	t.blamed = t.blamed || blamed
	if t.suspects == 0 && !t.blamed && t.refusedBytes > 0 {
		t.largest = max(t.refusedBytes/2, 1)
	}
}

// hold puts a parcel back that was never sealed: its messages are not sent, and who
// gives one up is told so.
func (t *track) hold() {
	if p := t.parcel; p.batch == nil {
		t.parcel = nil
		t.queue.putBack(p.outs)
	}
}

// lost is for a parcel whose place in the sequence the cluster does not accept.
// A new sequence begins, which keeps what is still on its way out. What may have
// been stored is unknown; the rest goes on in the new sequence.
func (t *track) lost(cause error, reports []brokers.Result) []brokers.Result {
	p := t.parcel
	t.parcel, t.spare, t.suspects = nil, nil, 0
	t.sequence = 0
	if t.producer.epoch++; t.producer.epoch < 0 {
		t.producer.epoch = -1 // they are used up: see wire.identify
	}
	if !p.doubt {
		t.queue.putBack(p.outs)
		return reports
	}
	for _, o := range p.outs {
		reports = append(reports, brokers.Result{Outbound: o, Err: &brokers.SendError{Outcome: brokers.Unknown, Err: cause}})
	}
	return reports
}

// fail reports all messages, as the cluster will not have them.
func (t *track) fail(cause error, reports []brokers.Result) []brokers.Result {
	if p := t.parcel; p != nil {
		outcome := brokers.NotSent
		if p.doubt {
			outcome = brokers.Unknown
			t.advance(len(p.outs)) // as it may be stored; if not, the sequence is lost, and begins anew
		}
		for _, o := range p.outs {
			reports = append(reports, brokers.Result{Outbound: o, Err: &brokers.SendError{Outcome: outcome, Err: cause}})
		}
		t.parcel, t.spare = nil, nil
	}
	for _, o := range t.queue.take(t.queue.len(), nil) {
		reports = append(reports, brokers.Result{Outbound: o, Err: &brokers.SendError{Outcome: brokers.NotSent, Err: cause}})
	}
	t.suspects, t.failures, t.missing, t.err = 0, 0, 0, nil
	return reports
}

// purge reports what waits and is not wanted any more.
func (t *track) purge(reports []brokers.Result) []brokers.Result {
	t.queue.filter(func(o *brokers.Outbound) bool {
		err := o.Err()
		if err != nil {
			t.suspects = 0 // it may be one
			reports = append(reports, brokers.Result{Outbound: o, Err: &brokers.SendError{Outcome: brokers.NotSent, Err: err}})
		}
		return err == nil
	})
	return reports
}

// outbox is a queue of messages.
type outbox struct {
	list  []*brokers.Outbound
	first int
	bytes int
}

func (q *outbox) len() int                     { return len(q.list) - q.first }
func (q *outbox) at(i int) *brokers.Outbound   { return q.list[q.first+i] }
func (q *outbox) size(o *brokers.Outbound) int { return batchSize(o.Message) }

func (q *outbox) push(o *brokers.Outbound) {
	if q.first > 0 && len(q.list) == cap(q.list) {
		n := copy(q.list, q.list[q.first:])
		clear(q.list[n:])
		q.list, q.first = q.list[:n], 0
	}
	q.list = append(q.list, o)
	q.bytes += q.size(o)
}

// take appends the first n to into.
func (q *outbox) take(n int, into []*brokers.Outbound) []*brokers.Outbound {
	taken := append(into, q.list[q.first:q.first+n]...)
	clear(q.list[q.first : q.first+n])
	if q.first += n; q.first == len(q.list) {
		q.list, q.first = q.list[:0], 0
	}
	for _, o := range taken {
		q.bytes -= q.size(o)
	}
	return taken
}

// putBack puts outs in front.
func (q *outbox) putBack(outs []*brokers.Outbound) {
	q.list = append(append([]*brokers.Outbound(nil), outs...), q.list[q.first:]...)
	q.first = 0
	for _, o := range outs {
		q.bytes += q.size(o)
	}
}

// filter keeps what keep says.
func (q *outbox) filter(keep func(*brokers.Outbound) bool) {
	kept := q.list[:0]
	q.bytes = 0
	for _, o := range q.list[q.first:] {
		if keep(o) {
			kept = append(kept, o)
			q.bytes += q.size(o)
		}
	}
	clear(q.list[len(kept):])
	q.list, q.first = kept, 0
}

// fate is what an error of the cluster means for a parcel.
type fate uint8

const (
	fateStored  fate = iota
	fateRetry        // not stored; it may be another time
	fateDoubt        // it may be stored; sending it again tells
	fateRefused      // a message of it is to blame
	fateLost         // the sequence is broken
	fateFailed       // whoever publishes must mend something
)

// fateOf reads the code that the cluster answered.
func fateOf(code int16) (fate, error) {
	err := kafkago.Error(code)
	switch err {
	case 0, kafkago.DuplicateSequenceNumber: // it has it, and has forgotten where
		return fateStored, nil
	case kafkago.RequestTimedOut, kafkago.NotEnoughReplicasAfterAppend,
		kafkago.NotLeaderForPartition, kafkago.KafkaStorageError: // these also of what was appended and waited for replicas
		return fateDoubt, err
	case kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge:
		return fateRefused, fmt.Errorf("%w: %w", brokers.ErrTooLarge, err)
	case kafkago.InvalidRecord, kafkago.InvalidTimestamp, kafkago.UnsupportedForMessageFormat:
		return fateRefused, fmt.Errorf("%w: %w", brokers.ErrInvalid, err)
	case kafkago.OutOfOrderSequenceNumber, kafkago.InvalidProducerEpoch, kafkago.UnknownProducerId:
		return fateLost, err
	}
	if transient(err) {
		return fateRetry, err
	}
	return fateFailed, err
}

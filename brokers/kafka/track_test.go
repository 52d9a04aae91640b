package kafka

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// filled is a track on which messages 0 to n-1 wait.
func filled(n int) *track {
	tr := &track{topic: "t", producer: producer{id: 1}}
	push(tr, 0, n)
	return tr
}

func push(tr *track, from, to int) {
	for i := from; i < to; i++ {
		tr.queue.push(&brokers.Outbound{Message: &brokers.Message{Topic: "t", ID: fmt.Sprint(i)}})
	}
}

// next seals the next parcel, of no more than most messages.
func next(tr *track, most int) *parcel {
	tr.parcel = &parcel{outs: tr.take(most, 1<<20), batch: []byte("batch")}
	return tr.parcel
}

func ids(results []brokers.Result) []string {
	var list []string
	for i := range results {
		list = append(list, results[i].Outbound.Message.ID)
	}
	return list
}

func outcome(t *testing.T, r brokers.Result) brokers.Outcome {
	t.Helper()
	var e *brokers.SendError
	if !errors.As(r.Err, &e) {
		t.Fatalf("message %s: %v; want a SendError", r.Outbound.Message.ID, r.Err)
	}
	return e.Outcome
}

// Whichever messages the cluster does not take, whatever is published meanwhile
// and however large parcels are: just those are refused, the others are stored in
// order, and no number of the sequence is used twice or left out.
func TestTrackFindsTheBlamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "messages")
		bad := map[string]bool{}
		for i := range n {
			if rapid.IntRange(0, 9).Draw(t, "dice") == 0 {
				bad[fmt.Sprint(i)] = true
			}
		}
		tooMany := rapid.IntRange(1, 50).Draw(t, "messages that are too large together")
		tr := &track{topic: "t", producer: producer{id: 1}}
		var stored, refused []string
		pushed := 0
		for attempts := 0; pushed < n || tr.queue.len() > 0; attempts++ {
			if attempts > 50*n {
				t.Fatal("no end")
			}
			if more := min(n, pushed+rapid.IntRange(0, 10).Draw(t, "more")); more > pushed {
				push(tr, pushed, more)
				pushed = more
			}
			if tr.queue.len() == 0 {
				continue
			}
			p := next(tr, rapid.IntRange(1, 20).Draw(t, "most"))
			if tr.sequence != int32(len(stored)) {
				t.Fatalf("sequence %d after %d messages", tr.sequence, len(stored))
			}
			if len(p.outs) > tooMany || slices.ContainsFunc(p.outs, func(o *brokers.Outbound) bool { return bad[o.Message.ID] }) {
				refused = append(refused, ids(tr.refused(brokers.ErrTooLarge, nil))...)
				continue
			}
			stored = append(stored, ids(tr.stored(int64(len(stored)), nil))...)
		}
		var wantStored, wantRefused []string
		for i := range n {
			if id := fmt.Sprint(i); bad[id] {
				wantRefused = append(wantRefused, id)
			} else {
				wantStored = append(wantStored, id)
			}
		}
		if !slices.Equal(stored, wantStored) || !slices.Equal(refused, wantRefused) {
			t.Fatalf("stored %v, refused %v; want %v, %v", stored, refused, wantStored, wantRefused)
		}
	})
}

// Parcels that were too large only together are smaller afterwards; after one
// message was to blame they are as large as ever.
func TestTrackLearnsTheLargest(t *testing.T) {
	tr := filled(4)
	next(tr, 10).batch = make([]byte, 1000)
	tr.refused(brokers.ErrTooLarge, nil)
	for range 2 {
		if p := next(tr, 10); len(p.outs) != 2 {
			t.Fatalf("a half of 4 has %d", len(p.outs))
		}
		tr.stored(0, nil)
	}
	if tr.largest != 500 {
		t.Errorf("parcels are of %d bytes; want half of those that were refused", tr.largest)
	}
	tr = filled(2)
	next(tr, 10).batch = make([]byte, 1000)
	tr.refused(brokers.ErrTooLarge, nil)
	next(tr, 10)
	tr.refused(brokers.ErrTooLarge, nil)
	next(tr, 10)
	tr.stored(0, nil)
	if tr.largest != 0 || tr.suspects != 0 {
		t.Errorf("parcels are of %d bytes, %d suspects; want no bound", tr.largest, tr.suspects)
	}
}

// A broken sequence begins anew in the next epoch. What may be stored is unknown,
// the rest goes on, in order.
func TestTrackLosesItsSequence(t *testing.T) {
	tr := filled(5)
	tr.sequence = 7
	next(tr, 2).doubt = true
	results := tr.lost(kafkago.OutOfOrderSequenceNumber, nil)
	if !slices.Equal(ids(results), []string{"0", "1"}) || outcome(t, results[0]) != brokers.Unknown {
		t.Errorf("reported %v; want 0 and 1 as unknown", ids(results))
	}
	if tr.sequence != 0 || tr.producer != (producer{id: 1, epoch: 1}) {
		t.Errorf("sequence %d of %+v; want 0 of epoch 1", tr.sequence, tr.producer)
	}
	next(tr, 2)
	if results := tr.lost(kafkago.UnknownProducerId, nil); len(results) != 0 || tr.producer.epoch != 2 {
		t.Errorf("reported %v of epoch %d; want nothing, and epoch 2", ids(results), tr.producer.epoch)
	}
	next(tr, 10)
	if got := ids(tr.stored(0, nil)); !slices.Equal(got, []string{"2", "3", "4"}) {
		t.Errorf("stored %v; want 2, 3, 4", got)
	}
	tr.producer.epoch = math.MaxInt16
	push(tr, 5, 6)
	next(tr, 1)
	tr.lost(kafkago.OutOfOrderSequenceNumber, nil)
	if tr.producer.epoch != -1 || tr.producer == noProducer {
		t.Errorf("after the last epoch: %+v; want one that asks for a new producer", tr.producer)
	}
}

// What the cluster will not have for now is not sent, but what may be stored is
// unknown.
func TestTrackFails(t *testing.T) {
	tr := filled(3)
	next(tr, 1).doubt = true
	results := tr.fail(brokers.ErrUnknownTopic, nil)
	if !slices.Equal(ids(results), []string{"0", "1", "2"}) || outcome(t, results[0]) != brokers.Unknown || outcome(t, results[1]) != brokers.NotSent {
		t.Errorf("reported %v", results)
	}
	if !tr.idle() || tr.sequence != 1 {
		t.Errorf("idle %v, sequence %d; want 1, as if it was stored", tr.idle(), tr.sequence)
	}
}

func TestSequenceWraps(t *testing.T) {
	if got := nextSequence(math.MaxInt32, 1); got != 0 {
		t.Errorf("after the largest number: %d; want 0", got)
	}
	if got := nextSequence(math.MaxInt32-1, 5); got != 3 {
		t.Errorf("5 after the largest but one: %d; want 3", got)
	}
}

func TestFates(t *testing.T) {
	for code, want := range map[kafkago.Error]fate{
		0:                                    fateStored,
		kafkago.DuplicateSequenceNumber:      fateStored,
		kafkago.NotLeaderForPartition:        fateDoubt,
		kafkago.KafkaStorageError:            fateDoubt,
		kafkago.UnknownTopicOrPartition:      fateRetry,
		kafkago.NotEnoughReplicas:            fateRetry,
		kafkago.NotEnoughReplicasAfterAppend: fateDoubt,
		kafkago.RequestTimedOut:              fateDoubt,
		kafkago.MessageSizeTooLarge:          fateRefused,
		kafkago.InvalidTimestamp:             fateRefused,
		kafkago.InvalidRecord:                fateRefused,
		kafkago.OutOfOrderSequenceNumber:     fateLost,
		kafkago.UnknownProducerId:            fateLost,
		kafkago.TopicAuthorizationFailed:     fateFailed,
	} {
		if got, err := fateOf(int16(code)); got != want || (err == nil) != (want == fateStored) {
			t.Errorf("fate of %d: %d, %v; want %d", code, got, err, want)
		}
	}
}

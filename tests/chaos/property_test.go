package chaos_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/tests/chaos"
)

// world makes histories of a group that keeps every promise: members own one
// partition in turn, are handed over, killed and cut off, and forget what they
// had not acknowledged by then.
type world struct {
	t       *rapid.T
	sent    map[string][]chaos.Outcome
	records []chaos.Record
	acked   map[string]int // by key: the first number that is not acknowledged
	next    map[string]int // by key: what the tenure handles next
	tenure  chaos.Record
	members int
	now     int64
}

var worldKeys = []string{"a", "b", "c"}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, sent: map[string][]chaos.Outcome{}, acked: map[string]int{}}
	for _, key := range worldKeys {
		w.sent[key] = slices.Repeat([]chaos.Outcome{chaos.Confirmed}, rapid.IntRange(1, 6).Draw(t, "messages of "+key))
	}
	w.succeed()
	return w
}

func (w *world) write(kind chaos.Kind, key string, number int) {
	w.now++
	r := w.tenure
	r.Kind, r.Time, r.Key, r.Number = kind, w.now, key, number
	r.Offset = int64(number*len(worldKeys) + slices.Index(worldKeys, key))
	w.records = append(w.records, r)
}

// succeed has another member own the partition, from what is acknowledged.
func (w *world) succeed() {
	w.members++
	w.tenure = chaos.Record{Member: string(rune('m' + w.members%10)), Epoch: uint64(w.members)}
	w.next = map[string]int{}
	for _, key := range worldKeys {
		w.next[key] = w.acked[key]
	}
}

// acknowledge makes what is handled the group's position.
func (w *world) acknowledge() {
	for _, key := range worldKeys {
		w.acked[key] = w.next[key]
	}
}

// step has something happen; false once all is handled and acknowledged.
func (w *world) step() bool {
	due := slices.DeleteFunc(slices.Clone(worldKeys), func(key string) bool { return w.next[key] == len(w.sent[key]) })
	if len(due) == 0 {
		return false
	}
	key := rapid.SampledFrom(due).Draw(w.t, "key")
	switch rapid.SampledFrom([]string{"handle", "handle", "handle", "fail", "hand over", "lose"}).Draw(w.t, "what") {
	case "handle":
		w.write(chaos.Started, key, w.next[key])
		w.write(chaos.Handled, key, w.next[key])
		w.next[key]++
		if rapid.Bool().Draw(w.t, "acknowledged") {
			w.acknowledge()
		}
	case "fail":
		w.write(chaos.Started, key, w.next[key])
		w.write(chaos.Failed, key, w.next[key])
	case "hand over":
		w.acknowledge()
		w.succeed()
	case "lose":
		w.write(chaos.Started, key, w.next[key])
		w.write(chaos.Cancelled, key, w.next[key])
		w.write(chaos.Lost, "", 0)
		w.succeed()
	}
	return true
}

// limits excuse repeats: each loss is as near as the whole history is long.
var limits = chaos.Limits{AckLag: 1 << 20}

// What keeps the promises passes, and what breaks one anywhere does not.
func TestCheckProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for w.step() {
		}
		good := chaos.Check(chaos.History{Sent: w.sent, Records: w.records}, limits)
		if err := good.Err(); err != nil {
			t.Fatalf("fault in a history without one: %v\n%s", err, lines(w.records))
		}
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(breaks))).Draw(t, "break")
		broken, ok := breaks[name](t, w.records)
		if !ok {
			t.Skip("nothing to break in this way")
		}
		bad := chaos.Check(chaos.History{Sent: w.sent, Records: broken}, limits)
		if bad.Err() == nil {
			t.Fatalf("no fault found: %s\n%s", name, lines(broken))
		}
	})
}

func lines(records []chaos.Record) (text string) {
	for i := range records {
		text += records[i].String() + "\n"
	}
	return text
}

// breaks spoil a history; false if there is nothing to be spoilt.
var breaks = map[string]func(*rapid.T, []chaos.Record) ([]chaos.Record, bool){
	// All handlings of one message are gone.
	"a message is lost": func(t *rapid.T, records []chaos.Record) ([]chaos.Record, bool) {
		gone := pick(t, records, chaos.Handled)
		return slices.DeleteFunc(slices.Clone(records), func(r chaos.Record) bool {
			return r.Key == gone.Key && r.Number == gone.Number && r.Kind != chaos.Lost
		}), true
	},
	// The numbers of two messages of a key are exchanged.
	"messages are reordered": func(t *rapid.T, records []chaos.Record) ([]chaos.Record, bool) {
		one := pick(t, records, chaos.Handled)
		other := one.Number - 1
		if other < 0 {
			return nil, false
		}
		spoilt := slices.Clone(records)
		for i := range spoilt {
			switch r := &spoilt[i]; {
			case r.Key != one.Key || r.Kind == chaos.Lost:
			case r.Number == one.Number:
				r.Number = other
			case r.Number == other:
				r.Number = one.Number
			}
		}
		return spoilt, true
	},
	// Another member handles the key of a handling that runs.
	"a handling overlaps": func(t *rapid.T, records []chaos.Record) ([]chaos.Record, bool) {
		i := slices.Index(records, pick(t, records, chaos.Handled))
		intruder := records[i]
		intruder.Member, intruder.Kind = "z", chaos.Started
		end := intruder
		end.Kind = chaos.Handled
		return slices.Insert(slices.Clone(records), i, intruder, end), true
	},
	// A position passes a message that failed.
	"an acknowledgement is too soon": func(t *rapid.T, records []chaos.Record) ([]chaos.Record, bool) {
		i := slices.Index(records, pick(t, records, chaos.Handled))
		ack := records[i]
		ack.Kind = chaos.Acked
		return slices.Insert(slices.Clone(records), i, ack), true
	},
}

// pick draws a record of a kind, of which there is always one.
func pick(t *rapid.T, records []chaos.Record, kind chaos.Kind) chaos.Record {
	of := slices.DeleteFunc(slices.Clone(records), func(r chaos.Record) bool { return r.Kind != kind })
	return rapid.SampledFrom(of).Draw(t, "record")
}

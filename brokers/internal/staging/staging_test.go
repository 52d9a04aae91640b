package staging

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// Whatever is added in which order, what lies below an offset comes in the order
// of offsets, and of calls for one offset; what is dropped is gone, and the counts
// are those of what is left.
func TestBuffer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := Buffer{Most: 1 << 20, MostBytes: 1 << 20}
		model := map[int64][]string{}
		dropped, n := int64(0), 0
		below := func(limit int64) (want []string) {
			for o := dropped; o < limit; o++ {
				want = append(want, model[o]...)
			}
			return want
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				offset := dropped + rapid.Int64Range(0, 20).Draw(t, "offset")
				var messages []brokers.Message
				for range rapid.IntRange(0, 3).Draw(t, "messages") {
					text := strconv.Itoa(n)
					n++
					messages = append(messages, brokers.Message{Payload: []byte(text)})
					model[offset] = append(model[offset], text)
				}
				b.Add(offset, messages)
			},
			"drop": func(t *rapid.T) {
				to := dropped + rapid.Int64Range(0, 20).Draw(t, "to")
				b.Drop(to)
				dropped = max(dropped, to)
			},
			"": func(t *rapid.T) {
				limit := dropped + rapid.Int64Range(0, 25).Draw(t, "limit")
				var got []string
				messages := b.Below(limit)
				for i := range messages {
					got = append(got, string(messages[i].Payload))
				}
				if want := below(limit); !slices.Equal(got, want) {
					t.Fatalf("below %d lie %q; want %q", limit, got, want)
				}
				left, size := below(dropped+100), 0
				for _, text := range left {
					size += len(text)
				}
				if n, bytes := b.Staged(); n != len(left) || bytes != size {
					t.Fatalf("%d messages of %d bytes are counted; want %d of %d", n, bytes, len(left), size)
				}
			},
		})
	})
}

// The buffer is full by either bound, and keeps copies.
func TestBufferBounds(t *testing.T) {
	t.Parallel()
	payload := []byte("abc")
	b := Buffer{Most: 2, MostBytes: 100}
	b.Add(7, []brokers.Message{{Payload: payload}})
	if b.Full() {
		t.Error("full with one of two messages")
	}
	payload[0] = 'x'
	b.Add(5, []brokers.Message{{Payload: payload}})
	if !b.Full() {
		t.Error("not full with two messages")
	}
	if got := b.Below(8); string(got[1].Payload) != "abc" {
		t.Errorf("what was staged changed to %q with the caller's memory", got[1].Payload)
	}
	b.Drop(6)
	if b.Full() {
		t.Error("full when one was dropped")
	}
	b.Add(8, []brokers.Message{{Payload: make([]byte, 97)}})
	if !b.Full() {
		t.Error("not full with 100 bytes")
	}
}

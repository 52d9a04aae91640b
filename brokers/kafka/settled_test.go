package kafka

import (
	"testing"

	"pgregory.net/rapid"
)

// What a memo says is settled was settled; what it leaves out lies above the rest,
// and only when the text would be too long.
func TestMemo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		position := rapid.Int64Range(0, 1<<40).Draw(t, "position")
		m := memo{partitions: rapid.IntRange(0, 100).Draw(t, "partitions")}
		m.settled.Cut(position - position%7)
		o := position
		for range rapid.IntRange(0, 3000).Draw(t, "stretches") {
			o += rapid.Int64Range(1, 300).Draw(t, "gap")
			for range rapid.Int64Range(1, 3).Draw(t, "length") {
				m.settled.Add(o)
				o++
			}
		}
		text := m.text(position)
		if len(text) > maxSettledText {
			t.Fatalf("a text of %d bytes", len(text))
		}
		got, ok := readMemo(text, position)
		if !ok || got.partitions != m.partitions {
			t.Fatalf("read %v, %d partitions; want %d", ok, got.partitions, m.partitions)
		}
		left := 0
		for o := range m.settled.All() {
			switch {
			case o >= position && !got.settled.Has(o):
				left++
			case o >= position && left > 0:
				t.Fatalf("offset %d is there, and some below it are not", o)
			}
		}
		if left > 0 && len(text) < maxSettledText-16 {
			t.Fatalf("%d offsets were left out of a text of %d bytes", left, len(text))
		}
		for o := range got.settled.All() {
			if !m.settled.Has(o) {
				t.Fatalf("offset %d was not settled", o)
			}
		}
	})
}

// Metadata of other programs say nothing, and are never a panic.
func TestMemoOfAnything(t *testing.T) {
	for _, text := range []string{"", "troupe/1", "troupe/1 x ", "troupe/1 3 !", "troupe/1 3 gICAgICAgICAgA", "parallel consumer's"} {
		if m, ok := readMemo(text, 10); ok {
			t.Errorf("%q reads as %+v", text, m)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		_, _ = readMemo(settledMark+rapid.String().Draw(t, "text"), rapid.Int64().Draw(t, "position"))
	})
}

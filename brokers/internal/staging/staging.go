// Package staging keeps what the handling of messages led to until a transaction
// has it: see brokers.Stager. It is pure: no I/O, no clock, no lock.
package staging

import (
	"cmp"
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// Buffer is what was staged for one partition and not committed yet.
type Buffer struct {
	// Most and MostBytes are where it is full.
	Most, MostBytes int

	entries []entry // in the order of their offsets
	staged  int
	bytes   int
}

// entry is what one message led to.
type entry struct {
	offset   int64
	messages []brokers.Message
}

func (e entry) compare(offset int64) int { return cmp.Compare(e.offset, offset) }

// Add adds copies of messages to what the message of that offset led to.
func (b *Buffer) Add(offset int64, messages []brokers.Message) {
	if len(messages) == 0 {
		return
	}
	i, found := slices.BinarySearchFunc(b.entries, offset, entry.compare)
	if !found {
		b.entries = slices.Insert(b.entries, i, entry{offset: offset})
	}
	e := &b.entries[i]
	for j := range messages {
		b.staged++
		b.bytes += messages[j].Size()
		e.messages = append(e.messages, messages[j].Clone())
	}
}

// Below returns what messages below an offset led to, in the order of their
// offsets. The messages stay where they are until Drop.
func (b *Buffer) Below(offset int64) (messages []brokers.Message) {
	for _, e := range b.entries[:b.end(offset)] {
		messages = append(messages, e.messages...)
	}
	return messages
}

// Drop forgets what messages below an offset led to.
func (b *Buffer) Drop(offset int64) {
	n := b.end(offset)
	for _, e := range b.entries[:n] {
		b.staged -= len(e.messages)
		for i := range e.messages {
			b.bytes -= e.messages[i].Size()
		}
	}
	b.entries = slices.Delete(b.entries, 0, n)
}

func (b *Buffer) end(offset int64) int {
	i, _ := slices.BinarySearchFunc(b.entries, offset, entry.compare)
	return i
}

// Staged is how much is in the buffer.
func (b *Buffer) Staged() (messages, bytes int) { return b.staged, b.bytes }

// Full says whether a bound is reached.
func (b *Buffer) Full() bool { return b.staged >= b.Most || b.bytes >= b.MostBytes }

package nats

import (
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// queue holds messages that came and were not fetched. What is fetched is copied
// out, into a slice of its size that is the caller's; the room stays, as making
// it anew for each batch is the dearer copy.
type queue struct {
	room []brokers.Message
	head int // what lies before was taken
}

// list is what is in it, to be read and sorted.
func (q *queue) list() []brokers.Message { return q.room[q.head:] }

func (q *queue) len() int { return len(q.room) - q.head }

func (q *queue) push(m brokers.Message) {
	if len(q.room) == cap(q.room) && q.head >= q.len() && q.head > 0 {
		n := copy(q.room, q.list())
		clear(q.room[n:])
		q.room, q.head = q.room[:n], 0
	}
	q.room = append(q.room, m)
}

// take removes the first n.
func (q *queue) take(n int) []brokers.Message {
	taken := slices.Clone(q.room[q.head : q.head+n])
	clear(q.room[q.head : q.head+n]) // or their payloads would live on
	if q.head += n; q.head == len(q.room) {
		q.room, q.head = q.room[:0], 0
	}
	return taken
}

// drop gives up what is in it, and the room.
func (q *queue) drop() { *q = queue{} }

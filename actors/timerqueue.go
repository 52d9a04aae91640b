package actors

import (
	"container/heap"
	"math"
)

// timerKind says what a due timer does.
type timerKind uint8

const (
	timerWake     timerKind = iota // a back-off is over
	timerParkTime                  // a key has been parked for MaxParkTime
	timerLetter                    // a letter that the key sent to itself
	timerIdle                      // the key's receive timeout
	timerResend                    // effects that failed are published again
)

// timer is one entry of a region's timers. at is on the region's clock.
type timer struct {
	at       int64
	kind     timerKind
	cell     *cell
	owner    *extras // of the instance that set it; nil if none did
	name     string
	value    any
	every    int64
	decision *decision
	slot     int // in the heap, from 1; 0 when out of it
}

// after is a moment on the region's clock; what lies beyond its end is never.
func after(now, d int64) int64 {
	if d > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + d
}

// timerQueue orders timers by time. It is pure; removal is exact, so nothing of
// a key is left when the key is.
type timerQueue struct{ heap timerHeap }

// add puts a timer in, or in its new place if it is in already.
func (q *timerQueue) add(t *timer) {
	if t.slot > 0 {
		heap.Fix(&q.heap, t.slot-1)
		return
	}
	heap.Push(&q.heap, t)
}

// remove takes a timer out; one that is not in (due, or nil) is left alone.
func (q *timerQueue) remove(t *timer) {
	if t != nil && t.slot > 0 {
		heap.Remove(&q.heap, t.slot-1)
	}
}

// due takes the earliest timer if its time has come.
func (q *timerQueue) due(now int64) *timer {
	if len(q.heap) == 0 || q.heap[0].at > now {
		return nil
	}
	return heap.Pop(&q.heap).(*timer)
}

// next is when the earliest timer is due.
func (q *timerQueue) next() (at int64, ok bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.slot = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.slot = 0
	return t
}

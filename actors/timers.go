package actors

import (
	"container/heap"
	"time"
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
	value    any
	name     string
	every    int64
	decision *decision
	index    int // in the heap; -1 when out of it
}

// timerQueue orders timers by time. It is pure; removal is exact, so nothing of
// a key is left when the key is.
type timerQueue struct{ heap timerHeap }

func (q *timerQueue) add(t *timer) { heap.Push(&q.heap, t) }

func (q *timerQueue) remove(t *timer) {
	if t != nil && t.index >= 0 {
		heap.Remove(&q.heap, t.index)
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
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}

// timerOp is a staged change of a key's timers.
type timerOp struct {
	name  string
	after time.Duration // negative cancels
	every bool
	value any
	idle  bool // the receive timeout
}

// After stages a one-shot timer: value reaches the key as a letter after d. A
// timer of the same name is replaced. Timers end with the instance: passivation
// does not wait for them, and they are not durable.
func (c *Context) After(d time.Duration, name string, value any) {
	c.staged.timers = append(c.staged.timers, timerOp{name: name, after: max(d, 0), value: value})
}

// Every stages a periodic timer: value reaches the key as a letter every d,
// which is at least 1 ms. A period that passes while the last letter still waits
// is skipped.
func (c *Context) Every(d time.Duration, name string, value any) {
	c.staged.timers = append(c.staged.timers, timerOp{name: name, after: max(d, time.Millisecond), every: true, value: value})
}

// CancelTimer stages the end of a timer.
func (c *Context) CancelTimer(name string) {
	c.staged.timers = append(c.staged.timers, timerOp{name: name, after: -1})
}

// SetReceiveTimeout stages the receive timeout: when nothing has reached the key
// for d, it gets a [ReceiveTimeout] once, and again after the next thing that
// reached it and another d. Letters count, the end of a child included; the
// time-out itself does not. 0 ends it.
func (c *Context) SetReceiveTimeout(d time.Duration) {
	if d <= 0 {
		d = -1
	}
	c.staged.timers = append(c.staged.timers, timerOp{idle: true, after: d})
}

package brokers

import (
	"container/heap"
	"time"

	"github.com/troupe-go/troupe/brokers/internal/backoff"
)

// retryLater lets o wait for the end of its back-off, at the head of its lane.
func (p *Publisher) retryLater(o *Outbound) {
	o.place = placeRetry
	t := o.needTrouble()
	t.due = p.now() + p.backoff(o.Attempt)
	heap.Push(&p.retries, o)
	p.wakeAt(t.due)
}

// backoff is how long to wait after that many attempts.
func (p *Publisher) backoff(attempts int) time.Duration {
	return backoff.Jittered(p.cfg.RetryMin, p.cfg.RetryMax, attempts-1)
}

// retryDue makes ready what has waited long enough.
func (p *Publisher) retryDue(now time.Duration) {
	for len(p.retries) > 0 && p.retries[0].trouble.due <= now {
		p.makeReady(heap.Pop(&p.retries).(*Outbound))
	}
}

// alarm is the one timer of a publisher.
type alarm struct {
	timer *time.Timer
	at    time.Duration // by Publisher.now; 0 when it is not set
}

// wakeAt sees to it that ring is called at that time, or earlier.
func (p *Publisher) wakeAt(at time.Duration) {
	a := &p.alarm
	if a.at != 0 && at >= a.at {
		return
	}
	a.at = at
	if a.timer == nil {
		a.timer = time.AfterFunc(at-p.now(), p.ring)
		return
	}
	a.timer.Reset(at - p.now())
}

// ring does what is due.
func (p *Publisher) ring() {
	p.mu.Lock()
	defer p.unlock()
	now := p.now()
	p.expire(now)
	p.retryDue(now)
	p.alarm.at = 0
	if o := p.unwaited.first; o != nil && o.deadline != 0 {
		p.wakeAt(o.deadline)
	}
	if len(p.retries) > 0 {
		p.wakeAt(p.retries[0].trouble.due)
	}
}

// retryHeap has the message that is due first on top. See [heap.Interface].
type retryHeap []*Outbound

func (h *retryHeap) remove(o *Outbound) { heap.Remove(h, o.trouble.inHeap) }

func (h retryHeap) Len() int           { return len(h) }
func (h retryHeap) Less(i, j int) bool { return h[i].trouble.due < h[j].trouble.due }

func (h retryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].trouble.inHeap, h[j].trouble.inHeap = i, j
}

func (h *retryHeap) Push(x any) {
	o := x.(*Outbound)
	o.trouble.inHeap = len(*h)
	*h = append(*h, o)
}

func (h *retryHeap) Pop() any {
	last := len(*h) - 1
	o := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return o
}

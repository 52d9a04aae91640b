package brokertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/troupe-go/troupe/brokers"
)

// ledger is what the workers of one group saw, in the order in which they saw
// it. It notes what must never be: two owners of a partition, an epoch's number
// used twice, a message of a key that overtakes another.
type ledger struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, at each entry
	open    []*tenure     // not closed by their worker
	epochs  map[slot]uint64
	highest map[string]int // per key: the highest number seen
	seen    map[string]int // per payload: how often
	faults  []string
	lost    int // epochs that ended before they were given back
}

type slot struct {
	topic string
	id    int32
}

// tenure is one worker's ownership of one partition.
type tenure struct {
	worker *worker
	p      brokers.Partition
	last   map[string]int // per key: the last number of this epoch
}

func newLedger() *ledger {
	return &ledger{
		changed: make(chan struct{}), epochs: map[slot]uint64{},
		highest: map[string]int{}, seen: map[string]int{},
	}
}

// note makes an entry and wakes those who wait for one.
func (l *ledger) note(entry func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// accepted notes a new epoch.
func (l *ledger) accepted(w *worker, p brokers.Partition) *tenure {
	t := &tenure{worker: w, p: p, last: map[string]int{}}
	l.note(func() {
		at := slot{p.Topic(), p.ID()}
		for _, old := range l.open {
			if (slot{old.p.Topic(), old.p.ID()}) == at && old.excludes(w) {
				l.fault("%s accepted partition %d (epoch %d) while %s had not closed it (epoch %d)",
					w.name, p.ID(), p.Epoch(), old.worker.name, old.p.Epoch())
			}
		}
		l.open = append(l.open, t)
	})
	return t
}

// excludes says whether w may not own the partition while t is open: never in
// the same process, and elsewhere until the epoch has ended.
func (t *tenure) excludes(w *worker) bool {
	if t.worker == w {
		return true
	}
	return !t.worker.dead && t.p.Context().Err() == nil
}

// closing notes that the worker is about to give its partition back.
func (l *ledger) closing(t *tenure) {
	l.note(func() {
		l.open = slices.DeleteFunc(l.open, func(x *tenure) bool { return x == t })
	})
}

// wasLost notes an epoch that ended before its owner had given it back.
func (l *ledger) wasLost() { l.note(func() { l.lost++ }) }

// lostEpochs counts those.
func (l *ledger) lostEpochs() (n int) {
	l.note(func() { n = l.lost })
	return n
}

// died notes that a worker is to be cut off: it handles nothing more.
func (l *ledger) died(w *worker) {
	l.note(func() { w.dead = true })
}

// handled notes a message, and says whether its worker is alive to acknowledge
// it.
func (l *ledger) handled(t *tenure, m *brokers.Message) (alive bool) {
	l.note(func() {
		if t.worker.dead {
			return
		}
		alive = true
		key, n := string(m.Key), number(m)
		if last, ok := t.last[key]; ok && n <= last {
			l.fault("key %s: %d came after %d in epoch %d of %s", key, n, last, t.p.Epoch(), t.worker.name)
		}
		highest, ok := l.highest[key]
		if !ok {
			highest = -1
		}
		if n > highest+1 {
			l.fault("key %s: %d came when %d was due, in epoch %d of %s", key, n, highest+1, t.p.Epoch(), t.worker.name)
		}
		t.last[key] = n
		l.highest[key] = max(highest, n)
		l.seen[string(m.Payload)]++
	})
	return alive
}

// broken notes an error that a driver must not return.
func (l *ledger) broken(w *worker, call string, err error) {
	l.note(func() {
		if !w.dead {
			l.fault("%s: %s: %v", w.name, call, err)
		}
	})
}

// await waits until is says true, asking after each entry.
func (e *env) await(l *ledger, what string, is func() bool) {
	e.Helper()
	for ctx := e.within(); ; {
		l.mu.Lock()
		met, changed := is(), l.changed
		l.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			e.Errorf("%s: not within %v", what, e.h.Wait)
			e.audit(l)
			e.FailNow()
		}
	}
}

// audit fails the test if the ledger has faults.
func (e *env) audit(l *ledger) {
	e.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) > 0 {
		e.Errorf("%d faults, the first: %s", len(l.faults), strings.Join(l.faults[:min(len(l.faults), 5)], "; "))
	}
}

// repeats lists the payloads that were handled more than once.
func (l *ledger) repeats() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(l.seen)), func(p string) bool { return l.seen[p] < 2 })
}

// owned says how many partitions each worker has. It needs ledger.mu.
func (l *ledger) owned() map[*worker]int {
	n := map[*worker]int{}
	for _, t := range l.open {
		if !t.worker.dead && t.p.Context().Err() == nil {
			n[t.worker]++
		}
	}
	return n
}

package actors

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pool bounds the workers of a subscription over its regions. A worker exists
// only while it has a turn to run: an idle subscription owns no goroutine.
type pool struct {
	limit int
	wg    sync.WaitGroup

	starved atomic.Int32 // regions in line
	mu      sync.Mutex
	busy    int
	line    []*region // regions that got no worker when they wanted one
}

// acquire takes a permit for one worker of r; without one, r stands in line.
func (p *pool) acquire(r *region) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy < p.limit {
		p.busy++
		return true
	}
	for _, waiting := range p.line {
		if waiting == r {
			return false
		}
	}
	p.line = append(p.line, r)
	p.starved.Store(int32(len(p.line)))
	return false
}

// release gives a permit back, and returns the region that stood first in line.
func (p *pool) release() (next *region) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if len(p.line) == 0 {
		return nil
	}
	next = p.line[0]
	p.line = append(p.line[:0], p.line[1:]...)
	p.starved.Store(int32(len(p.line)))
	return next
}

// cheapItem divides handlers that compute from those that wait: below it a
// worker per core is best, as more only cost wake-ups; above it every ready key
// deserves one.
const cheapItem = int64(20 * time.Microsecond)

// stallTick is how long all workers may be busy with keys waiting before more
// are started, whatever the average says.
const stallTick = time.Millisecond

// spawn starts as many workers as there are ready keys for, within what is
// useful and allowed. The region's lock is held.
func (r *region) spawn() {
	if r.stops.Load() != 0 || r.solo {
		return
	}
	most := r.useful()
	// Those in the midst of a turn and those about to take one are both in
	// workers; the latter are few, so count what runs.
	for want := min(most, r.sched.running+r.sched.readyCells); r.workers < want; {
		if !r.hire(turn{}) {
			return
		}
	}
	if r.sched.readyCells > 0 && r.workers >= most && most < r.sub.cfg.Concurrency {
		r.watch()
	}
}

// hire starts a worker, with a turn to begin with or none, if the pool allows.
func (r *region) hire(first turn) bool {
	if !r.sub.pool.acquire(r) {
		return false
	}
	r.workers++
	w := r.sub.newWorker(r)
	w.turn, w.fresh = first, first.cell != nil
	r.sub.pool.wg.Go(w.work)
	return true
}

// useful is how many workers the region can use now.
func (r *region) useful() int {
	if r.sub.itemCost.Load() > cheapItem {
		return r.sub.cfg.Concurrency
	}
	return min(r.sub.cfg.Concurrency, runtime.GOMAXPROCS(0)+r.boost)
}

// watch looks whether turns still end; if not, handlers block, and the keys that
// are ready get workers of their own, twice as many each time.
func (r *region) watch() {
	if r.watching {
		return
	}
	r.watching = true
	seen := r.turns
	time.AfterFunc(stallTick, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watching = false
		switch {
		case r.ended || r.sched.readyCells == 0:
			r.boost = 0
		case r.turns == seen:
			r.boost = max(2*r.boost, runtime.GOMAXPROCS(0))
			r.spawn()
		default:
			r.spawn()
		}
	})
}

// worker is what one worker needs from turn to turn.
type worker struct {
	region *region
	ctx    *Context
	turn   turn
	began  int64
	fresh  bool // the turn has not been run yet
	done   bool
}

// work runs turns until no key is ready, or others need the permit more.
func (w *worker) work() {
	r := w.region
	defer func() {
		if w.done {
			w.end()
			return
		}
		// A handler ended its goroutine (runtime.Goexit, as testing's FailNow
		// does): that is a failed attempt, and another goroutine goes on.
		r.judgeExit(&w.turn)
		r.sub.pool.wg.Go(w.work)
	}()
	if w.fresh {
		w.fresh = false
		r.run(w)
	}
	for r.step(w) {
		r.run(w)
	}
	w.done = true
}

// step books the turn that ended and takes the next one.
func (r *region) step(w *worker) bool {
	now := r.now()
	if w.turn.cell != nil {
		r.sub.learnCost(now-w.began, w.turn.handled)
	}
	w.began = now
	r.mu.Lock()
	var after func()
	if w.turn.cell != nil {
		after = r.conclude(&w.turn, now)
	}
	more := !r.yields() && r.nextTurn(&w.turn)
	r.spawn()
	if !more {
		w.turn = turn{}
		r.workers--
		if r.workers == 0 {
			signal(r.quiet)
		}
	}
	r.mu.Unlock()
	if after != nil {
		after()
	}
	return more
}

// yields says whether another region should have this worker's permit.
func (r *region) yields() bool {
	return r.sub.pool.starved.Load() > 0 && (r.turns%16 == 0 || r.sub.itemCost.Load() > cheapItem)
}

// end gives the permit back, to the region that has waited for longest.
func (w *worker) end() {
	r := w.region
	r.sub.workers.Put(w)
	next := r.sub.pool.release()
	if next != nil {
		next.start()
	}
	if next != r {
		r.start()
	}
}

// start starts the workers that the region can use.
func (r *region) start() {
	r.mu.Lock()
	r.spawn()
	r.mu.Unlock()
}

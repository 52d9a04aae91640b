package actors

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pool bounds the workers of a subscription over its regions. A worker exists
// only while it has a turn to run: an idle subscription owns no goroutine.
//
// While handlers compute, a worker per core is best, as more only cost wake-ups;
// while they wait, every ready key deserves one, up to the limit. The pool tells
// by what handling mostly takes, and by turns that do not end.
type pool struct {
	limit int
	wg    sync.WaitGroup

	cost  atomic.Int64  // estimated median of the handling of an item, in ns
	turns atomic.Uint64 // ended

	starved  atomic.Int32 // regions in line
	used     atomic.Int32 // busy, for who does not hold the lock
	few      atomic.Int32 // workers that are of use while handlers compute
	mu       sync.Mutex
	busy     int       // permits given
	boost    int       // permits beyond the cores, as turns do not end
	line     []*region // regions that got no worker when they wanted one
	watching bool
}

// cheapItem divides handlers that compute from those that wait.
const cheapItem = int64(20 * time.Microsecond)

// stallTick is how long all workers may be busy with regions in line before
// more are started, whatever the median says.
const stallTick = time.Millisecond

// allowed is how many workers are of use. The pool's lock is held.
func (p *pool) allowed() int {
	p.few.Store(int32(min(p.limit, runtime.GOMAXPROCS(0)+p.boost)))
	return p.bound()
}

// bound is what allowed was last, for the cost that handling has now.
func (p *pool) bound() int {
	if p.cost.Load() > cheapItem {
		return p.limit
	}
	return int(p.few.Load())
}

// acquire takes a permit for one worker of r; without one, r stands in line. It
// is called at each turn, so where r stands in line already, and nothing is free,
// it says so without the lock: who gives a permit back looks at the line.
func (p *pool) acquire(r *region) bool {
	if r.inLine.Load() && int(p.used.Load()) >= p.bound() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy < p.allowed() {
		p.take(1)
		return true
	}
	if !r.inLine.Load() {
		r.inLine.Store(true)
		p.line = append(p.line, r)
		p.starved.Store(int32(len(p.line)))
	}
	if p.busy < p.limit {
		p.watch()
	}
	return false
}

// take gives out n permits. The pool's lock is held.
func (p *pool) take(n int) {
	p.busy += n
	p.used.Store(int32(p.busy))
}

// pass gives a worker's permit to the region that has stood in line for longest,
// or back if there is none.
func (p *pool) pass() (next *region) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.line) == 0 || p.busy > p.allowed() {
		p.take(-1)
		return nil
	}
	next = p.line[0]
	next.inLine.Store(false)
	p.line = append(p.line[:0], p.line[1:]...)
	p.starved.Store(int32(len(p.line)))
	return next
}

// watch looks whether turns still end while regions stand in line; if not,
// handlers block, and twice as many workers are allowed each time. The pool's
// lock is held.
func (p *pool) watch() {
	if p.watching {
		return
	}
	p.watching = true
	seen := p.turns.Load()
	time.AfterFunc(stallTick, func() {
		for _, r := range p.look(seen) {
			r.start()
		}
	})
}

// look is one look of the watch: it returns the regions to be started.
func (p *pool) look(seen uint64) []*region {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watching = false
	if len(p.line) == 0 {
		p.boost = 0
		return nil
	}
	if p.turns.Load() == seen {
		p.boost = max(2*p.boost, runtime.GOMAXPROCS(0))
	}
	if p.busy >= p.allowed() {
		p.watch()
		return nil
	}
	line := p.line
	p.line = nil
	for _, r := range line {
		r.inLine.Store(false)
	}
	p.starved.Store(0)
	return line
}

// learn moves the estimate of the median towards what an item took. A median,
// as an average is spoilt by the few turns in which the worker lost its core.
func (p *pool) learn(took int64, items int32) {
	p.turns.Add(1)
	cost := p.cost.Load()
	step := cost/16 + 32
	if took < cost*int64(max(items, 1)) {
		step = -step
	}
	p.cost.Add(step)
}

// turnLimit is how many items of a key one turn takes: many while handlers are
// quick, one while they wait, so that no ready key waits for long.
func (p *pool) turnLimit() int32 {
	const fair, most = int64(200 * time.Microsecond), 256
	cost := p.cost.Load()
	if cost <= 0 {
		return 16
	}
	return int32(min(max(fair/cost, 1), most))
}

// fairTurns and fairTime are how many turns, and how long, a worker stays in one
// region while others are in line: enough to make the change cheap, and some
// 50 us while handlers are quick.
const (
	fairTurns = 64
	fairTime  = int64(5 * time.Millisecond)
)

// contended says whether a worker that has ended n turns in its region should
// let another region have its permit: never before its first turn, or workers
// would hand the permits round and run nothing.
func (p *pool) contended(n int, stayed int64) bool {
	return n > 0 && p.starved.Load() > 0 && (n >= fairTurns || stayed >= fairTime)
}

// awaitIdle waits for the pool's goroutines, which user code may hold up.
func (p *pool) awaitIdle(limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

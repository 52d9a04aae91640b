package actors

// worker runs turns, with one permit of the pool.
type worker struct {
	region *region
	ctx    *Context
	turn   turn
	began  int64
	came   int64 // to this region
	turns  int   // ended in this region
	fresh  bool  // the turn has not been run yet
}

// newWorker returns a worker for r, made of one that ended if possible.
func (s *subscription) newWorker(r *region, first turn) *worker {
	w, _ := s.workers.Get().(*worker)
	if w == nil {
		w = &worker{ctx: &Context{}}
	}
	w.turn, w.fresh = first, first.cell != nil
	w.move(r)
	return w
}

// move makes w a worker of r.
func (w *worker) move(r *region) {
	w.region, w.began, w.turns = r, r.now(), 0
	w.came = w.began
	w.ctx.region = r
	w.ctx.set(r.ctx)
}

// spawn starts as many workers as there are ready keys for, within what is
// useful and allowed. The region's lock is held.
func (r *region) spawn() {
	if r.stops.Load() != 0 || r.solo {
		return
	}
	for r.workers < r.sched.running-r.committing+r.sched.readyCells {
		if !r.hire(turn{}) {
			return
		}
	}
}

// start is spawn for those who do not hold the lock.
func (r *region) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spawn()
}

// hire starts a worker, with a turn to begin with or none, if the pool allows.
func (r *region) hire(first turn) bool {
	if !r.sub.pool.acquire(r) {
		return false
	}
	r.workers++
	w := r.sub.newWorker(r, first)
	r.sub.pool.wg.Go(w.work)
	return true
}

// work runs turns until no key of any region is ready.
func (w *worker) work() {
	pool, done := &w.region.sub.pool, false
	defer func() {
		if !done {
			// A handler ended its goroutine (runtime.Goexit, as testing's FailNow
			// does): that is a failed attempt, and another goroutine goes on.
			w.region.judgeExit(w)
			pool.wg.Go(w.work)
		}
	}()
	if w.fresh {
		w.fresh = false
		w.region.run(w)
	}
	for !done {
		for w.step() {
			w.region.run(w)
		}
		done = !w.leave()
	}
}

// leave takes the worker to the region that stands first in line. If there is
// none, it is done, and may be another goroutine's from now on.
func (w *worker) leave() bool {
	left := w.region
	left.start() // it may have keys ready, and stands in line then
	next := left.sub.pool.pass()
	if next == nil {
		w.region, w.ctx.region = nil, nil
		w.ctx.set(ended) // somebody may look at it late
		left.sub.workers.Put(w)
		return false
	}
	next.mu.Lock()
	next.workers++
	next.mu.Unlock()
	w.move(next)
	return true
}

// step books the turn that ended and takes the next one.
func (w *worker) step() bool {
	r := w.region
	now := r.now()
	if w.turn.cell != nil {
		w.turns++
		r.sub.pool.learn(now-w.began, w.turn.handled)
	}
	w.began = now
	r.mu.Lock()
	var after func()
	switch {
	case w.turn.cell == nil:
	case w.turn.unit != nil:
		after = r.submit(&w.turn)
	default:
		after = r.conclude(&w.turn, now)
	}
	more := !r.sub.pool.contended(w.turns, now-w.came) && r.nextTurn(&w.turn)
	if more {
		r.spawn()
	} else {
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

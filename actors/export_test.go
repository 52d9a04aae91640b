package actors

// Residents counts what the system's regions hold: keys, and timers set.
func Residents(s *System) (cells, timers int) {
	for _, sub := range s.subs {
		for _, r := range sub.owned() {
			r.mu.Lock()
			cells += r.sched.idle + r.sched.readyCells + r.sched.running + len(r.sched.waiting)
			timers += len(r.timers.heap)
			r.mu.Unlock()
		}
	}
	return cells, timers
}

// Budgets counts the children that the strategy remembers.
func Budgets(s *ChildSupervisor) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.children)
}

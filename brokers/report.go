package brokers

// callback is a call of a done function that is due.
type callback struct {
	done    func(Receipt, error)
	receipt Receipt
	err     *SendError
}

func (c *callback) run() {
	if c.err != nil {
		c.done(Receipt{}, c.err)
		return
	}
	c.done(c.receipt, nil)
}

// report makes the calls that are due, one at a time and in order, in a
// goroutine that exists while there are some. It is another one than that of
// send, so that a callback that waits for room keeps nobody from making room.
func (p *Publisher) report() {
	p.mu.Lock()
	for len(p.reports) > 0 {
		due := p.reports
		p.reports = p.spare[:0]
		p.unlock()
		for i := range due {
			due[i].run()
		}
		if clear(due); cap(due) > p.cfg.MaxBuffered {
			due = nil // it has grown large, as callbacks were slow
		}
		p.mu.Lock()
		p.spare = due
	}
	p.reporting = false
	p.unlock()
}

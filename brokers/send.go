package brokers

// send hands what is ready to the driver until nothing is, or the window is
// full. It is the only one that calls Send and Flush, in a goroutine that exists
// while there is something to do.
func (p *Publisher) send() {
	p.mu.Lock()
	for p.flushNow || p.canSend() {
		batch := p.takeReady()
		flush := p.flushNow || len(p.flushes) > 0 || p.closing
		p.flushNow = false
		p.unlock()
		if len(batch) > 0 {
			p.sender.Send(p.ctx, batch)
		}
		if flush {
			p.sender.Flush()
		}
		clear(batch)
		p.mu.Lock()
	}
	p.sending = false
	p.unlock()
}

// canSend says whether there is something to send, and room in the window.
func (p *Publisher) canSend() bool {
	return p.ready.first != nil && p.out < p.cfg.MaxInFlight
}

// takeReady takes what goes to the driver next.
func (p *Publisher) takeReady() []*Outbound {
	batch := p.batch[:0]
	now := p.now()
	for p.canSend() {
		o := p.ready.first
		if cause := o.unwanted(now); cause != nil {
			p.abandon(o, cause)
			continue
		}
		p.withdraw(o)
		o.out = true
		o.Attempt++
		p.out++
		batch = append(batch, o)
	}
	p.batch = batch
	return batch
}

package brokers

import "time"

// returned takes a message back from the driver.
func (p *Publisher) returned(o *Outbound, r Receipt, err error) {
	p.out--
	o.out, o.begun = false, false
	if o.settled {
		p.leave(o) // it was given up meanwhile
		p.discard(o)
		return
	}
	if err == nil {
		p.leave(o)
		p.settle(o, r, nil)
		return
	}
	e := asSendError(err)
	o.unsure = o.unsure || e.Outcome == Unknown
	if !e.Retryable() || p.sequenced {
		p.leave(o)
		p.settle(o, Receipt{}, e)
		return
	}
	o.needTrouble().err = e.Err
	p.retryLater(o)
}

// leave gives back what a message occupies that the driver does not have: its
// room, and the head of its lane, which its successor takes.
func (p *Publisher) leave(o *Outbound) {
	p.room.release(o.size)
	if o.lane == nil || p.sequenced {
		return
	}
	first := o.lane.first == o
	o.lane.remove(inLane, o)
	if next := o.lane.first; first && next != nil {
		p.makeReady(next)
	}
}

// abandon settles a message whose time is over. What the driver has stays its
// until Done, at the head of its lane.
func (p *Publisher) abandon(o *Outbound, cause error) {
	if o.settled {
		return
	}
	err := o.gaveUp(cause)
	if !o.out {
		p.withdraw(o)
		p.leave(o)
	}
	p.settle(o, Receipt{}, err)
}

// withdraw takes a message from where it waits to be sent.
func (p *Publisher) withdraw(o *Outbound) {
	switch o.place {
	case placeReady:
		p.ready.remove(inReady, o)
	case placeRetry:
		p.retries.remove(o)
	case placeNone:
	}
	o.place = placeNone
}

// settle makes what became of a message final. It is reported now, or, where
// only the callbacks are ordered, behind its predecessors.
func (p *Publisher) settle(o *Outbound, r Receipt, err *SendError) {
	o.settled = true
	p.unsettled(o).remove(inUnsettled, o)
	lane := o.lane
	switch {
	case lane == nil || !p.sequenced:
		p.tell(o, r, err)
		return
	case lane.first != o:
		t := o.needTrouble()
		t.receipt, t.failure = r, err
		return
	}
	lane.remove(inLane, o)
	p.tell(o, r, err)
	for next := lane.first; next != nil && next.settled; next = lane.first {
		lane.remove(inLane, next)
		p.tell(next, next.trouble.receipt, next.trouble.failure)
	}
}

// tell reports a settled message.
func (p *Publisher) tell(o *Outbound, r Receipt, err *SendError) {
	p.unreported--
	if o.call != nil {
		o.call.report(o.index, r, err)
	} else {
		p.reports = append(p.reports, callback{done: o.done, receipt: r, err: err})
	}
	p.passFlushes(o.number)
	o.told = true
	p.discard(o)
}

// discard recycles a message that nobody has any more.
func (p *Publisher) discard(o *Outbound) {
	if o.told && !o.out {
		o.recycle()
	}
}

// expire gives up what was published asynchronously too long ago.
func (p *Publisher) expire(now time.Duration) {
	for o := p.unwaited.first; o != nil && o.late(now); o = p.unwaited.first {
		p.abandon(o, errDeliveryTimeout)
	}
}

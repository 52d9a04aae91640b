package brokers

// Holder is a [Sender] that keeps messages for a while before it sends them, as for
// larger batches or a connection. What is given up before [Begin] has taken it is
// NotSent rather than Unknown.
type Holder interface {
	Sender
	// HoldsUntilBegin does nothing. A sender that has it calls Begin for every
	// message before it may reach the broker for the first time.
	HoldsUntilBegin()
}

// Begin is called by a [Holder] just before it sends messages of one publisher. It
// returns those that are to be sent, in order and in the memory of batch: from now
// on nobody can tell whether the broker has them. The others are not wanted any
// more, and must not be sent; their Done is NotSent.
func Begin(batch []*Outbound) (wanted, unwanted []*Outbound) {
	if len(batch) == 0 {
		return batch, nil
	}
	p := batch[0].publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	wanted = batch[:0]
	for _, o := range batch {
		if o.settled || o.unwanted(now) != nil {
			unwanted = append(unwanted, o)
			continue
		}
		o.begun = true
		wanted = append(wanted, o)
	}
	clear(batch[len(wanted):])
	return wanted, unwanted
}

package kafka

import (
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// stick lets a feed wait before it is tried again. It needs the lock.
func (f *fetcher) stick(d *feed, err error) {
	if !d.complain(fmt.Errorf("partition %d of topic %q: %w", d.partition, d.topic, err)) {
		return
	}
	d.queue = feedStuck
	d.failures++
	f.stuck = append(f.stuck, d)
	if !f.mending && f.ctx.Err() == nil {
		f.mending = true
		f.running.Go(f.mend)
	}
}

// mend tries again what is stuck, with what the cluster then says of its leaders.
// It runs while something is.
func (f *fetcher) mend() {
	missing := map[string]int{}
	for {
		f.mu.Lock()
		stuck := f.stuck
		f.stuck = nil
		if f.mending = len(stuck) > 0; !f.mending {
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		failures := 0
		for _, d := range stuck {
			failures = max(failures, d.failures)
		}
		if !f.c.pause(f.ctx, failures-1) {
			return
		}
		f.retry(stuck, missing)
	}
}

// retry places feeds again. Missing counts how often the cluster has said of a
// topic that there is none.
func (f *fetcher) retry(stuck []*feed, missing map[string]int) {
	var topics []string
	for _, d := range stuck {
		if !slices.Contains(topics, d.topic) {
			topics = append(topics, d.topic)
		}
	}
	faults := f.c.metadata.refresh(f.ctx, topics...)
	for _, t := range topics {
		missing[t]++
		if !errors.Is(faults[t], brokers.ErrUnknownTopic) {
			delete(missing, t)
		}
	}
	var gone []*feed
	f.mu.Lock()
	for _, d := range stuck {
		d.queue = feedIdle
		switch {
		case missing[d.topic] >= certain:
			gone = append(gone, d)
		case faults[d.topic] != nil:
			f.stick(d, faults[d.topic])
		default:
			f.place(d)
		}
	}
	f.mu.Unlock()
	for _, d := range gone {
		f.gone(d)
	}
}

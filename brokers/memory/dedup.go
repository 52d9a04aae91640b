package memory

import (
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// dedup remembers the IDs of a topic for a time.
type dedup struct {
	mu   sync.Mutex
	seen map[string]brokers.Receipt
	ages []aged // in the order of storing
}

type aged struct {
	id string
	at time.Time
}

// find returns the receipt of the message that had this ID within the window.
// It needs dedup.mu.
func (d *dedup) find(id string, now time.Time, window time.Duration) (brokers.Receipt, bool) {
	for len(d.ages) > 0 && now.Sub(d.ages[0].at) >= window {
		delete(d.seen, d.ages[0].id)
		d.ages = d.ages[1:]
	}
	r, ok := d.seen[id]
	r.Duplicate = ok
	return r, ok
}

// remember needs dedup.mu. No ID is not an ID.
func (d *dedup) remember(id string, r brokers.Receipt, now time.Time) {
	if id == "" {
		return
	}
	if d.seen == nil {
		d.seen = map[string]brokers.Receipt{}
	}
	d.seen[id] = r
	d.ages = append(d.ages, aged{id: id, at: now})
}

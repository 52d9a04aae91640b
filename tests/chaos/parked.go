package chaos

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// parkedKeys fail at first and then wait for a long back-off.
const parkedKeys = 8

var errParked = errors.New("chaos: to be tried again later")

// Keys that wait for a long back-off, as many as may be in flight in a
// partition, hold nobody else up, and are not given to a handler before their
// time.
func parked(f *field) {
	backoff := f.long(f.target.Redelivery+max(f.target.Hold, time.Second), time.Minute)
	f.supply()
	f.join(func(h *handler, sub *actors.Subscription) {
		sub.MaxInFlight, sub.MaxParked = parkedKeys, 2*parkedKeys
		sub.Policy.Backoff = supervision.Constant(backoff)
		h.fault = func(m message, attempt int) error {
			if strings.HasPrefix(m.key, "x") && attempt == 1 {
				return errParked
			}
			return nil
		}
	})
	waiting := sameParkedKeys()
	for _, key := range waiting {
		f.workload.publish(key)
	}
	f.await("the first attempts", patience, func() bool { return len(f.attempts(waiting)) == parkedKeys })
	first := f.attempts(waiting)
	f.halt = func() {}
	for n := range 200 {
		f.workload.publish(f.workload.keys[n%20])
	}
	published := time.Now()
	f.confirmed()
	f.await("200 messages of other keys", 5*time.Second, func() bool {
		f.update()
		return f.workload.unhandled(f.handled, waiting...) == 0
	})
	f.Logf("200 others handled %v after they were published", time.Since(published).Round(time.Millisecond))
	f.await("the second attempts", backoff+f.target.Resume, f.allHandled)
	for _, again := range f.attempts(waiting)[parkedKeys:] {
		f.timely(again, first, backoff)
	}
	f.disband()
	if v := f.judge(); v.Failed != parkedKeys {
		f.Errorf("%d attempts failed; want one for each of %d keys", v.Failed, parkedKeys)
	}
}

// sameParkedKeys are keys of one partition.
func sameParkedKeys() (keys []string) {
	for i := 0; len(keys) < parkedKeys; i++ {
		if key := fmt.Sprintf("x%d", i); brokers.PartitionOf([]byte(key), Partitions) == 0 {
			keys = append(keys, key)
		}
	}
	return keys
}

// attempts are the starts of messages of those keys so far.
func (f *field) attempts(keys []string) (starts []Record) {
	f.Helper()
	f.update()
	for i := range f.records {
		if r := &f.records[i]; r.Kind == Started && slices.Contains(keys, r.Key) {
			starts = append(starts, *r)
		}
	}
	return starts
}

// timely judges when a key was tried again.
func (f *field) timely(again Record, first []Record, backoff time.Duration) {
	f.Helper()
	i := slices.IndexFunc(first, func(r Record) bool { return r.Key == again.Key })
	if waited := again.at().Sub(first[i].at()); waited < backoff {
		f.Errorf("%s: tried again after %v; want no sooner than %v", &again, waited, backoff)
	}
}

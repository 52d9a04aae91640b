package nats_test

import (
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// A message whose confirmation does not come in time is sent again with its id,
// and stored once; its key stays in order.
func TestUnconfirmedIsStoredOnce(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	ls.change = func(cfg *nats.Config) { cfg.PublishTimeout = 100 * time.Millisecond }
	b := open(t, ls)
	topic := makeTopic(t, b, 1)
	publish(t, b, append(numbered(topic, 0, "k", 0, 1), numbered(topic, 0, "l", 0, 1)...)...)
	p, err := b.Publisher(brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	if err != nil {
		t.Fatal(err)
	}
	var duplicates, failures int
	var counting sync.Mutex
	let := ls.line(b).holdAnswers()
	for _, key := range []string{"k", "l"} {
		for n := 1; n < 5; n++ {
			err := p.PublishAsync(within(t), numbered(topic, 0, key, n, n+1)[0], func(r brokers.Receipt, err error) {
				counting.Lock()
				defer counting.Unlock()
				if r.Duplicate {
					duplicates++
				}
				if err != nil {
					failures++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	<-time.After(500 * time.Millisecond) // several attempts
	let()
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if duplicates == 0 || failures > 0 {
		t.Errorf("%d duplicates, %d failures; want some and none", duplicates, failures)
	}
	r := read(t, subscribe(t, b, name("group"), topic))
	r.await(t, 4, "k", "l")
	if n := r.repeats(); n > 0 {
		t.Errorf("%d messages were stored more than once", n)
	}
}

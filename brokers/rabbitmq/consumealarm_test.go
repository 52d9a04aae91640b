package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/brokers"
)

// slack is what a busy machine may add to a bound.
const slack = 3 * time.Second

// Scenario B09: under a memory alarm publishing heeds its deadlines and says what
// blocks it, acknowledgements arrive, and all closes in time. When the alarm is
// over before that, publishing goes on by itself.
func TestMemoryAlarmWhileConsuming(t *testing.T) {
	onEachAlone(t, func(t *testing.T, url string, s server) {
		for _, lifted := range []bool{false, true} {
			t.Run(fmt.Sprintf("lifted %v", lifted), func(t *testing.T) { s.memoryAlarm(t, url, lifted) })
		}
	})
}

func (s server) memoryAlarm(t *testing.T, url string, lifted bool) {
	t.Helper()
	g := newGroup(t, config(t, url))
	g.ensure()
	g.publish(0, 10)
	side := &group{t: t, b: g.b, topic: "topic-" + uuid.NewString(), name: "side"}
	side.ensure()
	sub := g.subscribe(brokers.SubscriptionConfig{})
	p := accept(t, sub)
	got := fetch(t, p, 0, 10)
	pub, err := g.b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}

	lift := sync.OnceFunc(func() { s.control(t, "set_vm_memory_high_watermark", "0.4") })
	defer lift()
	s.control(t, "set_vm_memory_high_watermark", "0.0000001")
	blocked(t, g.b, pub, brokers.Message{Topic: side.topic})
	var publishing sync.WaitGroup
	for i := range 4 {
		publishing.Go(func() { g.wantBlocked(pub, fmt.Sprint("key", i)) })
	}
	publishing.Wait()
	if h := g.b.Health(t.Context()); h.Err == nil || !strings.Contains(h.Err.Error(), "blocked") {
		t.Errorf("Health.Err: %v", h.Err)
	}
	if err := p.Ack(brokers.Ack{UpTo: got[9].Offset}); err != nil {
		t.Fatal(err)
	}
	if lifted {
		lift()
		if _, err := pub.Publish(t.Context(), brokers.Message{Topic: g.topic, Key: []byte("after")}); err != nil {
			t.Error(err)
		}
	}
	g.closeWithin(pub, sub, p)
	if lifted {
		return
	}
	// What was not acknowledged would be there again.
	q, err := admin(t, url).QueueDeclarePassive(g.queue, true, false, false, false, nil)
	if err != nil || q.Messages != 0 {
		t.Errorf("%d messages are left: %v", q.Messages, err)
	}
}

// wantBlocked publishes with a deadline of 2 s, which passes.
func (g *group) wantBlocked(pub *brokers.Publisher, key string) {
	const within = 2 * time.Second
	ctx, cancel := context.WithTimeout(g.t.Context(), within)
	defer cancel()
	began := time.Now()
	_, err := pub.Publish(ctx, brokers.Message{Topic: g.topic, Key: []byte(key)})
	if took := time.Since(began); took > within+slack {
		g.t.Errorf("Publish took %v", took)
	}
	var failed *brokers.PublishError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) || !strings.Contains(err.Error(), "blocked") {
		g.t.Errorf("Publish: %v; want the deadline, and blocked", err)
		return
	}
	if f := failed.Failures[0]; !f.Retryable() {
		g.t.Errorf("outcome %v", f.Outcome)
	}
}

// closeWithin closes everything, each in its time.
func (g *group) closeWithin(pub *brokers.Publisher, sub brokers.Subscription, p brokers.Partition) {
	g.t.Helper()
	for _, c := range []struct {
		name  string
		bound time.Duration
		close func(context.Context) error
	}{
		{"Partition", time.Second, p.Close},
		{"Subscription", time.Second, sub.Close},
		{"Publisher", time.Second, pub.Close},
		{"Broker", 2 * time.Second, func(context.Context) error { return g.b.Close() }},
	} {
		ctx, cancel := context.WithTimeout(g.t.Context(), c.bound)
		began := time.Now()
		err := c.close(ctx)
		cancel()
		if took := time.Since(began); took > c.bound+slack {
			g.t.Errorf("%s.Close took %v", c.name, took)
		}
		if err != nil && c.name != "Publisher" { // which says how many messages it gave up
			g.t.Errorf("%s.Close: %v", c.name, err)
		}
	}
}

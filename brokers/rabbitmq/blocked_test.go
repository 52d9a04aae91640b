package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// ctl is the command line of a server that the test has for itself.
func ctl(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", append([]string{os.Getenv("TEST_SERVICES"), "rabbitmqctl"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("rabbitmqctl %v: %v\n%s", args, err, out)
	}
}

// While the server has a memory alarm publishing and asking wait with their
// contexts, and say why; closing does not wait. Then they go on by themselves.
func TestMemoryAlarm(t *testing.T) {
	if os.Getenv("TEST_SERVICES") == "" {
		t.Skip("TEST_SERVICES is not set: no server may be hurt")
	}
	cfg := config(t, serverURL(t, "TEST_AMQP_URL", false))
	b, other := open(t, cfg), open(t, cfg)
	topic := "topic-" + uuid.NewString()
	if err := b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: topic, Partitions: 1, Groups: []string{"g"}}); err != nil {
		t.Fatal(err)
	}
	respond(t, other, topic, func(context.Context, *brokers.Message) (brokers.Message, error) { return brokers.Message{}, nil })
	p := publisher(t, b, brokers.PublisherConfig{Order: brokers.OrderNone})
	m := brokers.Message{Topic: topic, Payload: make([]byte, 1<<10)}
	for _, b := range []*rabbitmq.Broker{b, other} { // which the server only blocks once it publishes
		if _, err := b.Request(lasting(t, 20*time.Second), brokers.Message{Topic: topic}); err != nil {
			t.Fatal(err)
		}
	}
	ctl(t, "set_vm_memory_high_watermark", "0.0000001")
	t.Cleanup(func() { ctl(t, "set_vm_memory_high_watermark", "0.4") })
	blocked(t, b, p, m)

	const deadline = 500 * time.Millisecond
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() {
			began := time.Now()
			_, err := p.Publish(lasting(t, deadline), m)
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, rabbitmq.ErrBlocked) || !strings.Contains(err.Error(), "blocked") {
				t.Errorf("publishing: %v; want the deadline, and that it is blocked", err)
			}
			if took := time.Since(began); took > deadline+5*time.Second {
				t.Errorf("publishing returned after %v", took)
			}
		})
	}
	waiting.Go(func() {
		if _, err := b.Request(lasting(t, deadline), brokers.Message{Topic: topic}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, rabbitmq.ErrBlocked) {
			t.Errorf("asking: %v; want the deadline, and that it is blocked", err)
		}
	})
	waiting.Wait()

	// Closing while it lasts.
	hurried, err := rabbitmq.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	q, err := hurried.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	if err := q.PublishAsync(t.Context(), m, func(_ brokers.Receipt, err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := hurried.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; err == nil {
		t.Error("a message was confirmed while the server is blocked")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}

	// What waits goes on.
	if err := p.PublishAsync(t.Context(), m, func(_ brokers.Receipt, err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	ctx := lasting(t, 60*time.Second)
	go func() {
		_, err := b.Request(ctx, brokers.Message{Topic: topic})
		asked <- err
	}()
	ctl(t, "set_vm_memory_high_watermark", "0.4")
	for what, c := range map[string]<-chan error{"publishing": result, "asking": asked} {
		if err := <-c; err != nil {
			t.Errorf("%s after the alarm: %v", what, err)
		}
	}
	awaitHealth(t, b, func(h brokers.Health) bool { return h.Err == nil })
}

// blocked publishes until the server says that it takes no more.
func blocked(t *testing.T, b *rabbitmq.Broker, p *brokers.Publisher, m brokers.Message) {
	t.Helper()
	ctx := lasting(t, 60*time.Second)
	for !errors.Is(b.Health(ctx).Err, rabbitmq.ErrBlocked) {
		_, err := p.Publish(lasting(t, 100*time.Millisecond), m)
		if ctx.Err() != nil {
			t.Fatal(fmt.Errorf("no alarm: %w", err))
		}
	}
}

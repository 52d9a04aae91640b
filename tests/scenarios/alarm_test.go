package scenarios

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

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// Scenario B09: under RabbitMQ's memory alarm a publish heeds its deadline and says
// what blocks it, what consumers acknowledge arrives, and a system that is shut down
// returns in time, with its account. A message whose effect cannot be confirmed is
// given back. If the alarm is over before, all goes on by itself.
func TestMemoryAlarm(t *testing.T) {
	services := os.Getenv("TEST_SERVICES")
	if services == "" {
		t.Skip("no server that may be hurt: TEST_SERVICES is not set")
	}
	// The driver's own test has the alarm lifted and held on either server.
	for name, s := range map[string]struct {
		variable, command string
		lifted            bool
	}{
		"Held/3.10": {"TEST_AMQP_URL", "rabbitmqctl", false}, "Lifted/4.0": {"TEST_AMQP4_URL", "rabbitmqctl4", true},
	} {
		t.Run(name, func(t *testing.T) {
			url := os.Getenv(s.variable)
			if url == "" {
				t.Skip(s.variable + " is not set")
			}
			memoryAlarm(t, url, s.lifted, func(limit string) {
				if out, err := exec.CommandContext(t.Context(), services, s.command, "set_vm_memory_high_watermark", limit).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			})
		})
	}
}

func memoryAlarm(t *testing.T, url string, lifted bool, limit func(string)) {
	const drain, slack = 3 * time.Second, 5 * time.Second // of a busy machine
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	broker, err := brokers.Open(ctx, url, rabbitmq.Driver)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	}()
	group, aside := "group-"+uuid.NewString(), "aside-"+uuid.NewString()
	in, out := topic(ctx, t, broker, group), topic(ctx, t, broker, aside)
	var messages []brokers.Message
	for i := range 10 {
		messages = append(messages, brokers.Message{Topic: in, Key: fmt.Append(nil, i), Payload: fmt.Append(nil, i)})
	}
	publish(ctx, t, broker, messages...)

	release, running := make(chan struct{}), make(chan struct{}, len(messages))
	sys, err := actors.NewSystem(actors.Config{DrainTimeout: drain}, actors.Subscription{
		Group: group, Broker: broker, Topics: []string{in},
		Actor: actors.Shared(actors.HandlerFunc(func(c *actors.Context) error {
			running <- struct{}{}
			<-release
			if string(c.Event().Payload) == "7" {
				return c.Publish(out, []byte("seven"))
			}
			return nil
		})),
	})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		report actors.Report
		err    error
	}
	run, ended := context.WithCancel(ctx)
	results := make(chan result, 1)
	go func() {
		report, err := sys.Run(run)
		results <- result{report, err}
	}()
	for range messages {
		<-running
	}
	publisher, err := broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	lift := sync.OnceFunc(func() { limit("0.4") })
	defer lift()
	limit("0.0000001")
	for !errors.Is(broker.Health(ctx).Err, rabbitmq.ErrBlocked) { // the server says so to who publishes
		wait, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, _ = publisher.Publish(wait, brokers.Message{Topic: out, Payload: []byte("x")})
		cancel()
		if ctx.Err() != nil {
			t.Fatal("no alarm")
		}
	}
	var publishing sync.WaitGroup
	for i := range 4 {
		publishing.Go(func() {
			blockedFor(ctx, t, publisher, 2*time.Second, slack, brokers.Message{Topic: out, Key: fmt.Append(nil, i)})
		})
	}
	publishing.Wait()
	if lifted {
		lift()
		if _, err := publisher.Publish(ctx, brokers.Message{Topic: out, Key: []byte("after")}); err != nil {
			t.Error(err)
		}
	}

	began := time.Now()
	close(release)
	ended()
	got := <-results
	if took := time.Since(began); took > drain+2*time.Second+slack {
		t.Errorf("Run took %v to end", took)
	}
	givenBack := 0
	if !lifted {
		givenBack = 1
		if got.err == nil || !strings.Contains(got.err.Error(), "blocked") {
			t.Errorf("Run says %v of what it could not publish", got.err)
		}
	}
	if lifted && got.err != nil || got.report.Handled != int64(len(messages)) || got.report.GivenBack != int64(givenBack) {
		t.Errorf("Run: %v, %v; want %d given back", got.report, got.err, givenBack)
	}
	lift()
	if err := publisher.Close(ctx); err != nil {
		t.Error(err)
	}
	wantLeft(ctx, t, broker, in, group, givenBack)
}

// blockedFor publishes with a deadline, which passes.
func blockedFor(ctx context.Context, t *testing.T, p *brokers.Publisher, within, slack time.Duration, m brokers.Message) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	began := time.Now()
	_, err := p.Publish(ctx, m)
	if took := time.Since(began); took > within+slack || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "blocked") {
		t.Errorf("Publish under the alarm: %v after %v", err, took)
	}
}

// wantLeft says what of a group's messages was not acknowledged.
func wantLeft(ctx context.Context, t *testing.T, broker brokers.Broker, in, group string, n int) {
	t.Helper()
	sub, err := broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: group, Topics: []string{in}})
	if err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, broker, brokers.Message{Topic: in, Payload: []byte("last")}) // so that something comes
	p, err := sub.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for len(left) == 0 || left[len(left)-1] != "last" {
		got, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 100})
		if err != nil {
			t.Fatalf("left are %q: %v", left, err)
		}
		for i := range got {
			left = append(left, string(got[i].Payload))
		}
	}
	if len(left) != n+1 {
		t.Errorf("left are %q; want %d before the last", left, n)
	}
	if err := errors.Join(p.Close(ctx), sub.Close(ctx)); err != nil {
		t.Error(err)
	}
}

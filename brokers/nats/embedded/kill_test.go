package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

// The environment of a child process that publishes so many messages, or until
// it is killed.
const (
	childDir   = "TROUPE_TEST_EMBEDDED_DIR"
	childSync  = "TROUPE_TEST_EMBEDDED_SYNC"
	childCount = "TROUPE_TEST_EMBEDDED_COUNT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := publishNumbers(dir, os.Getenv(childSync), os.Getenv(childCount)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// publishNumbers writes the number of each confirmed message to the standard
// output. Then it ends as a crash would, without a Close.
func publishNumbers(dir, sync, count string) error {
	ctx := context.Background()
	b, err := brokers.Open(ctx, "nats://embedded?dir="+dir+"&sync="+sync, embedded.Driver)
	if err != nil {
		return err
	}
	if err := b.EnsureTopic(ctx, brokers.TopicConfig{Name: "orders", Partitions: 1}); err != nil {
		return err
	}
	p, err := b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return err
	}
	for n := 0; strconv.Itoa(n) != count; n++ {
		_, err := p.Publish(ctx, brokers.Message{Topic: "orders", Key: []byte("k"), Payload: []byte(strconv.Itoa(n))})
		if err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
	return nil
}

// What was confirmed survives kill -9, with either sync.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, sync := range []string{"interval", "always"} {
		t.Run(sync, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			last := killedAfter(t, dir, sync, 200)
			b := open(t, embedded.Config{Dir: dir})
			for n, payload := range readAll(t, b, "orders", last+1) {
				if payload != strconv.Itoa(n) {
					t.Fatalf("message %d has payload %q; %d were confirmed", n, payload, last+1)
				}
			}
		})
	}
}

// killedAfter kills a child after n confirmations, and returns the last one that
// it has reported.
func killedAfter(t *testing.T, dir, sync string, n int) (last int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, childSync+"="+sync)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last = -1
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if last, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if last == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if last < n {
		t.Fatalf("the child ended after %d messages: %v", last+1, child.Wait())
	}
	var killed *exec.ExitError
	if err := child.Wait(); !errors.As(err, &killed) || killed.Exited() {
		t.Fatalf("the child ended with %v; want it to be killed", err)
	}
	return last
}

func open(t *testing.T, cfg embedded.Config) *embedded.Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := embedded.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// readAll reads the first n messages of a topic of one partition.
func readAll(t *testing.T, b brokers.Broker, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := b.Subscribe(ctx, brokers.SubscriptionConfig{Group: "readers", Topics: []string{topic}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var payloads []string
	for len(payloads) < n {
		batch, err := p.Fetch(ctx, brokers.FetchLimit{Messages: n - len(payloads)})
		if err != nil {
			t.Fatalf("Fetch: %v, after %d of %d messages", err, len(payloads), n)
		}
		for i := range batch {
			payloads = append(payloads, string(batch[i].Payload))
		}
		if err := p.Ack(brokers.Ack{UpTo: batch[len(batch)-1].Offset}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(p.Close(ctx), s.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	return payloads
}

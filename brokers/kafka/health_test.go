package kafka_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// Health says when the cluster cannot be reached, and each change is logged once.
func TestHealth(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	l := &line.Line{}
	b := open(t, func(c *kafka.Config) {
		c.Dial, c.Logger, c.RetryMin, c.RetryMax = l.Dial, zap.New(core), time.Millisecond, 5*time.Millisecond
	})
	becomes := func(connected bool) brokers.Health {
		t.Helper()
		poll := time.NewTicker(time.Millisecond)
		defer poll.Stop()
		for ctx := within(t); ; {
			if h := b.Health(ctx); h.Connected == connected {
				return h
			}
			select {
			case <-poll.C:
			case <-ctx.Done():
				t.Fatalf("Health: %+v; want Connected %v", b.Health(ctx), connected)
			}
		}
	}
	since := becomes(true).Since
	for range 2 {
		l.Cut()
		h := becomes(false)
		if !errors.Is(h.Err, line.ErrCut) || !h.Since.After(since) {
			t.Errorf("Health: %+v; want why, and since when", h)
		}
		<-time.After(30 * time.Millisecond) // several attempts
		l.Mend()
		if h = becomes(true); h.Err != nil {
			t.Errorf("Health: %+v; want no error", h)
		}
		since = h.Since
	}
	var got []string
	for _, entry := range logs.All() {
		got = append(got, strings.TrimPrefix(entry.Message, "kafka: connection "))
	}
	if want := "lost restored lost restored"; strings.Join(got, " ") != want {
		t.Errorf("logged %v; want %s", got, want)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if h := b.Health(t.Context()); h.Connected || !errors.Is(h.Err, brokers.ErrClosed) {
		t.Errorf("Health of a broker that was closed: %+v", h)
	}
	if _, err := b.Publisher(brokers.PublisherConfig{}); !errors.Is(err, brokers.ErrClosed) {
		t.Errorf("Publisher of a broker that was closed: %v", err)
	}
}

// What this topic does not allow of a message refuses that message alone.
func TestRefusedAlone(t *testing.T) {
	t.Parallel()
	b := open(t, func(c *kafka.Config) { c.TopicConfigs = map[string]string{"cleanup.policy": "compact"} })
	topic := newTopic(t, b, 1)
	p := publisher(t, b, brokers.PublisherConfig{Partitioner: brokers.Explicit()})
	for name, bad := range map[string]brokers.Message{
		"NoKeyOnACompactedTopic": {Topic: topic},
		"HoursAhead":             {Topic: topic, Key: []byte("k"), Time: time.Now().Add(2 * time.Hour)},
	} {
		good := messages(topic, 6, 1)
		_, err := p.Publish(within(t), good[0], good[1], good[2], bad, good[3], good[4])
		var failed *brokers.PublishError
		if !errors.As(err, &failed) || len(failed.Failures) != 1 || failed.Failures[0].Index != 3 || !errors.Is(err, brokers.ErrInvalid) || failed.Failures[0].Retryable() {
			t.Errorf("%s: %v; want ErrInvalid of index 3 alone", name, err)
		}
		if _, err := p.Publish(within(t), good[5]); err != nil {
			t.Errorf("%s: the next: %v", name, err)
		}
	}
	if err := p.Close(within(t)); err != nil {
		t.Fatal(err)
	}
}

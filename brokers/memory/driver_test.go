package memory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
)

func TestDriverReadsOptions(t *testing.T) {
	b, err := brokers.Open(t.Context(), "memory://?partitions=3&dedup_window=1m&count_deliveries=true&cumulative_only=true&max_retained=2", memory.Driver)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(b.Close()) }()
	f := b.Features()
	if f.IndividualAcks || f.Competing || !f.Deduplication || !f.DeliveryCount || !f.SequencedPublish {
		t.Errorf("features %+v", f)
	}
	if err := b.EnsureTopic(t.Context(), brokers.TopicConfig{Name: "t"}); err != nil {
		t.Fatal(err)
	}
	if n := b.(*memory.Broker).Server().Partitions("t"); n != 3 {
		t.Errorf("%d partitions, want 3", n)
	}
}

func TestDriverOpensServersOfTheirOwn(t *testing.T) {
	a, err := brokers.Open(t.Context(), "memory://", memory.Driver)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(a.Close()) }()
	b, err := brokers.Open(t.Context(), "memory://", memory.Driver)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(b.Close()) }()
	if a.(*memory.Broker).Server() == b.(*memory.Broker).Server() {
		t.Error("two openings share a server")
	}
}

func TestDriverRefuses(t *testing.T) {
	for _, c := range []struct{ dsn, names string }{
		{"memory://?partitions=0", "partitions"},
		{"memory://?partition=3", "partition"},
		{"memory://?dedup_window=fast", "dedup_window"},
		{"memory://host", "host"},
	} {
		_, err := brokers.Open(t.Context(), c.dsn, memory.Driver)
		if err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: error %v, want one that names %q", c.dsn, err, c.names)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for field, cfg := range map[string]memory.Config{
		"Partitions":      {Partitions: -1},
		"DedupWindow":     {DedupWindow: -time.Second},
		"MaxMessageBytes": {MaxMessageBytes: -1},
		"MaxRetained":     {MaxRetained: -1},
	} {
		func() {
			defer func() {
				err, _ := recover().(error)
				if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
					t.Errorf("%s: New panicked with %v, want an error that names the field", field, err)
				}
			}()
			memory.New(cfg)
		}()
	}
}

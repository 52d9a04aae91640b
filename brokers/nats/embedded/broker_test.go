package embedded_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

func publish(t *testing.T, b brokers.Broker, topic string, payloads ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.EnsureTopic(ctx, brokers.TopicConfig{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	p, err := b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range payloads {
		if _, err := p.Publish(ctx, brokers.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// Messages and positions survive a Close.
func TestReopened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, embedded.Config{Dir: dir})
	publish(t, b, "orders", "a", "b", "c")
	if got := readAll(t, b, "orders", 2); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("read %v", got)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, embedded.Config{Dir: dir, Sync: embedded.SyncAlways})
	publish(t, again, "orders", "d")
	if got := readAll(t, again, "orders", 2); !slices.Equal(got, []string{"c", "d"}) {
		t.Fatalf("read %v after it was opened again; want c and d", got)
	}
}

// Two servers would spoil each other's files.
func TestInUse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "store")
	first := open(t, embedded.Config{Dir: dir})
	if _, err := embedded.Open(t.Context(), embedded.Config{Dir: dir}); !errors.Is(err, embedded.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("Open of a directory in use: %v; want ErrInUse that names it", err)
	}
	publish(t, first, "orders", "a")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, open(t, embedded.Config{Dir: dir}), "orders", 1); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("read %v, want a", got)
	}
}

// A server serves connections other than its own, and keeps to its limit.
func TestServer(t *testing.T) {
	t.Parallel()
	b := open(t, embedded.Config{Dir: t.TempDir(), MaxPayload: 4096})
	conn, err := b.Server().InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	info := make([]byte, 4096)
	n, err := conn.Read(info)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(info[:n]); !strings.HasPrefix(text, "INFO ") || !strings.Contains(text, `"max_payload":4096`) {
		t.Errorf("the server says %q", text)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Server().InProcessConn(); err == nil {
		t.Error("a closed server takes connections")
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]embedded.Config{
		"Dir":          {},
		"Sync":         {Dir: "d", Sync: 7},
		"MaxPayload":   {Dir: "d", MaxPayload: -1},
		"StartTimeout": {Dir: "d", StartTimeout: -1},
		"PinnedTTL":    {Dir: t.TempDir(), NATS: nats.Config{PinnedTTL: -1}},
	} {
		_, err := embedded.Open(t.Context(), cfg)
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("Open with a wrong %s: %v; want ErrInvalid that names it", field, err)
		}
	}
}

// A directory that cannot be used is an error of the start, and leaves nothing
// running.
func TestNoDirectory(t *testing.T) {
	t.Parallel()
	_, err := embedded.Open(t.Context(), embedded.Config{Dir: "/dev/null/store"})
	var failed *brokers.OpenError
	if !errors.As(err, &failed) || failed.Step != "start" || !strings.Contains(err.Error(), "/dev/null/store") {
		t.Errorf("Open: %v; want an OpenError of the start that names the directory", err)
	}
}

func TestDSN(t *testing.T) {
	t.Parallel()
	open := func(dsn string) error {
		b, err := brokers.Open(t.Context(), dsn, nats.Driver, embedded.Driver)
		if err != nil {
			return err
		}
		if b.Name() != "nats" || !b.Health(t.Context()).Connected {
			t.Errorf("%s opened %s, %+v", dsn, b.Name(), b.Health(t.Context()))
		}
		return b.Close()
	}
	if err := open("nats://embedded?sync=always&dedup_window=10s&pinned_ttl=3s&max_payload=64KiB&dir=" + t.TempDir()); err != nil {
		t.Error(err)
	}
	for dsn, names := range map[string]string{
		"nats://embedded":                        "Dir",
		"nats://embedded?dir=x&sync=sometimes":   "sync",
		"nats://embedded?dir=x&size=3":           "size",
		"nats://embedded?dir=x&dedup_window=abc": "dedup_window",
	} {
		if err := open(dsn); !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v; want ErrInvalid that names %s", dsn, err, names)
		}
	}
}

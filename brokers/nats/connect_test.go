package nats

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/brokers"
)

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.14.0": true, "2.14.0-RC.1": true, "2.15.2": true, "3.0.0": true, "2.100": true,
		"2.13.9": false, "2.9.25": false, "1.99.0": false, "": false, "2": false, "dev": false, "2.x": false,
	} {
		err := checkVersion(version)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrServerTooOld) {
			t.Errorf("version %q: %v; want ok %v", version, err, ok)
		}
	}
}

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nats.ErrAuthorization, brokers.StepAuth},
		{fmt.Errorf("x: %w", nats.ErrAuthExpired), brokers.StepAuth},
		{nats.ErrSecureConnRequired, brokers.StepTLS},
		{fmt.Errorf("%w: closed by remote: %w", nats.ErrTLS, &net.OpError{Op: "write"}), brokers.StepTLS},
		{x509.UnknownAuthorityError{}, brokers.StepTLS},
		{x509.HostnameError{Certificate: &x509.Certificate{}}, brokers.StepTLS},
		{nats.ErrNoServers, brokers.StepDial},
		{&net.OpError{Op: "dial"}, brokers.StepDial},
	} {
		if got := step(c.err); got != c.want {
			t.Errorf("step of %T: %q; want %q", c.err, got, c.want)
		}
	}
}

// refusing is an address at which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestOpenFails(t *testing.T) {
	address := refusing(t)
	_, err := Open(t.Context(), Config{Servers: []string{"nats://app:secret@" + address}})
	var failed *brokers.OpenError
	if !errors.As(err, &failed) || failed.Step != brokers.StepDial || failed.Endpoint != "nats://"+address {
		t.Errorf("Open: %v; want an OpenError of the dial, with the endpoint", err)
	}
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("the error has the password: %v", err)
	}

	// A server that takes connections and says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := Open(ctx, Config{Servers: []string{"nats://" + l.Addr().String()}}); err == nil {
		t.Error("Open of a silent server: no error")
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Open took %v with a deadline of 100 ms", took)
	}
	if _, err := Open(ctx, Config{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open with an ended context: %v", err)
	}
}

func TestConfigInvalid(t *testing.T) {
	for field, cfg := range map[string]Config{
		"Replicas":       {Replicas: -1},
		"MaxAge":         {MaxAge: -1},
		"MaxBytes":       {MaxBytes: -1},
		"DedupWindow":    {DedupWindow: time.Millisecond},
		"PinnedTTL":      {PinnedTTL: time.Millisecond},
		"Acks":           {Acks: 9},
		"AckWait":        {AckWait: time.Millisecond},
		"Prefetch":       {Prefetch: -1},
		"PrefetchBytes":  {PrefetchBytes: -1},
		"MemberInterval": {MemberInterval: time.Nanosecond},
		"FailoverAfter":  {FailoverAfter: -1},
		"RequestTimeout": {RequestTimeout: -1},
		"PublishTimeout": {PublishTimeout: -1},
		"ReconnectWait":  {ReconnectWait: -1},
	} {
		_, err := Open(t.Context(), cfg)
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("a wrong %s: %v; want ErrInvalid that names it", field, err)
		}
	}
	if got := (Config{MaxAge: time.Second}).withDefaults().DedupWindow; got != time.Second {
		t.Errorf("with MaxAge 1s, DedupWindow is %v; the server refuses more than that", got)
	}
}

func TestConfigFrom(t *testing.T) {
	dsn, err := brokers.ParseDSN("nats://app:p@h1,h2:5222?name=n&replicas=3&max_age=1h&max_bytes=1GiB&dedup_window=1m" +
		"&pinned_ttl=4s&acks=prefix&ack_wait=2m&prefetch=7&prefetch_bytes=1MiB&member_interval=1s&failover_after=5s" +
		"&request_timeout=3s&publish_timeout=2s&reconnect_wait=1s")
	if err != nil {
		t.Fatal(err)
	}
	got := ConfigFrom(dsn)
	if err := dsn.Finish(); err != nil {
		t.Fatal(err)
	}
	want := Config{
		Servers: []string{"nats://h1:4222", "nats://h2:5222"}, User: "app", Password: brokers.NewSecret("p"), Name: "n",
		Replicas: 3, MaxAge: time.Hour, MaxBytes: 1 << 30, DedupWindow: time.Minute,
		PinnedTTL: 4 * time.Second, Acks: AcksPrefix, AckWait: 2 * time.Minute, Prefetch: 7, PrefetchBytes: 1 << 20,
		MemberInterval: time.Second, FailoverAfter: 5 * time.Second,
		RequestTimeout: 3 * time.Second, PublishTimeout: 2 * time.Second, ReconnectWait: time.Second,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || got.Password.Reveal() != "p" {
		t.Errorf("got %+v; want %+v", got, want)
	}
	for text, names := range map[string]string{
		"nats://h?replicas=9": "replicas", "nats://h?colour=red": "colour", "nats://h/path": "path",
	} {
		if _, err := brokers.Open(t.Context(), text, Driver); !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v; want ErrInvalid that names %s", text, err, names)
		}
	}
}

func TestReconnectDelay(t *testing.T) {
	for attempts, most := range map[int]time.Duration{0: 20 * time.Millisecond, 1: 20 * time.Millisecond, 3: 80 * time.Millisecond, 50: time.Second} {
		for range 100 {
			if d := reconnectDelay(attempts, time.Second); d < most/2 || d > most {
				t.Fatalf("delay after %d attempts: %v; want %v to %v", attempts, d, most/2, most)
			}
		}
	}
}

// Each change of the connection is logged once, whoever notices it.
func TestLink(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	l := newLink(zap.New(core))
	lost, back := 0, 0
	l.watch("w", watch{lost: func() { lost++ }, back: func() { back++ }})
	silence := errors.New("silence")

	l.silent(silence)
	l.silent(errors.New("more silence"))
	if up, _, err := l.state(); up || !errors.Is(err, silence) || l.isCut() {
		t.Errorf("of a silent server: up %v, cut %v, %v", up, l.isCut(), err)
	}
	l.lost(nil, nil)
	l.answered() // an answer that was under way
	if up, _, err := l.state(); up || !errors.Is(err, errCut) || !l.isCut() {
		t.Errorf("without a connection: up %v, cut %v, %v", up, l.isCut(), err)
	}
	l.back()
	l.silent(fmt.Errorf("asked on the connection before: %w", context.Canceled))
	if up, _, err := l.state(); !up || err != nil || l.isCut() {
		t.Errorf("back: up %v, cut %v, %v", up, l.isCut(), err)
	}
	l.silent(silence)
	l.answered()
	l.answered()
	l.unwatch("w")
	l.lost(nil, silence)
	if lost != 1 || back != 1 {
		t.Errorf("told of %d losses, %d returns; want one each", lost, back)
	}
	var got []string
	for _, entry := range logs.All() {
		got = append(got, strings.TrimPrefix(entry.Message, "nats: connection "))
	}
	if want := "lost restored lost restored lost"; strings.Join(got, " ") != want {
		t.Errorf("logged %v; want %s", got, want)
	}
}

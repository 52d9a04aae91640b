package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/backoff"
)

// ErrServerTooOld says that the server is older than 2.14, from which on a
// consumer can be reset, as the order of messages needs: upgrade it.
var ErrServerTooOld = errors.New("nats: server too old, need 2.14")

const leastMajor, leastMinor = 2, 14

// Open connects to a server and checks that it has JetStream and is new enough.
// It gives up when ctx ends. A failure is a [*brokers.OpenError], or wraps
// [brokers.ErrInvalid] and names the field.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	b := newBroker(cfg)
	nc, err := dial(ctx, b)
	if errors.Is(err, brokers.ErrInvalid) {
		return nil, err
	}
	if err != nil {
		return nil, openError(cfg, step(err), err)
	}
	b.nc = nc
	if err := b.check(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return b, nil
}

// dial connects. The client itself knows no context, only a time per server.
func dial(ctx context.Context, b *Broker) (*nats.Conn, error) {
	cfg := b.cfg
	timeout := cfg.RequestTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if timeout <= 0 {
		return nil, context.DeadlineExceeded
	}
	secure, err := cfg.security()
	if err != nil {
		return nil, err
	}
	return nats.Connect(strings.Join(cfg.Servers, ","), options(b, timeout, secure)...)
}

func options(b *Broker, timeout time.Duration, secure []nats.Option) []nats.Option {
	cfg, l := b.cfg, b.link
	options := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(timeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			l.tried()
			return reconnectDelay(attempts, cfg.ReconnectWait)
		}),
		// A publish without a connection fails at once rather than waiting in a
		// buffer: the Publisher and the acknowledgements have their own.
		nats.ReconnectBufSize(-1),
		nats.FlusherTimeout(cfg.RequestTimeout),
		nats.PingInterval(cfg.RequestTimeout),
		nats.MaxPingsOutstanding(2),
		nats.SkipSubjectValidation(), // all are escaped, checked by validSubject, or come from the server
	}
	options = append(options, secure...)
	options = append(options, cfg.Options...)
	return append(options,
		nats.DisconnectErrHandler(l.lost),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.refused(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { l.back() }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { b.complaint(sub, err) }),
	)
}

// complaint takes what the client says beside connection events.
func (b *Broker) complaint(sub *nats.Subscription, err error) {
	if tell, ok := b.slow.Load(sub); ok && errors.Is(err, nats.ErrSlowConsumer) {
		tell.(func())()
		return
	}
	b.link.complaint(err)
}

// reconnectDelay is how long to wait after that many attempts, longest at most.
func reconnectDelay(attempts int, longest time.Duration) time.Duration {
	return backoff.Jittered(20*time.Millisecond, longest, max(attempts-1, 0))
}

// check asks the server for its version and JetStream.
func (b *Broker) check(ctx context.Context) error {
	if err := checkVersion(b.nc.ConnectedServerVersion()); err != nil {
		return openError(b.cfg, brokers.StepVerify, err)
	}
	js, err := jetstream.New(b.nc, jetstream.WithDefaultTimeout(b.cfg.RequestTimeout))
	if err != nil {
		return openError(b.cfg, brokers.StepVerify, fmt.Errorf("JetStream: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.RequestTimeout)
	defer cancel()
	if _, err := js.AccountInfo(ctx); err != nil {
		return openError(b.cfg, brokers.StepVerify, fmt.Errorf("JetStream: %w", err))
	}
	b.js = js
	return nil
}

// checkVersion takes versions as servers give them: "2.15.2", "2.14.0-RC.1".
func checkVersion(version string) error {
	var numbers [2]int
	parts := strings.SplitN(version, ".", 3)
	for i := range numbers {
		if i >= len(parts) {
			return fmt.Errorf("%w: %q is no version", ErrServerTooOld, version)
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return fmt.Errorf("%w: %q is no version", ErrServerTooOld, version)
		}
		numbers[i] = n
	}
	if numbers[0] < leastMajor || numbers[0] == leastMajor && numbers[1] < leastMinor {
		return fmt.Errorf("%w: it is %s", ErrServerTooOld, version)
	}
	return nil
}

func openError(cfg Config, step string, err error) error {
	return &brokers.OpenError{Endpoint: endpoint(cfg), Step: step, Err: err}
}

// endpoint names the servers without what logs in.
func endpoint(cfg Config) string {
	servers := make([]string, 0, len(cfg.Servers))
	for _, s := range cfg.Servers {
		if at := strings.LastIndexByte(s, '@'); at >= 0 {
			scheme, _, _ := strings.Cut(s, "://")
			s = scheme + "://" + s[at+1:]
		}
		servers = append(servers, s)
	}
	return strings.Join(servers, ",")
}

// step says how far an attempt to connect came.
func step(err error) string {
	var (
		record    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		remote    *net.OpError
	)
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired),
		errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return brokers.StepAuth
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrTLS),
		errors.As(err, &record), errors.As(err, &authority), errors.As(err, &hostname),
		errors.As(err, &invalid), errors.As(err, &verify),
		errors.As(err, &remote) && remote.Op == "remote error": // an alert of TLS
		return brokers.StepTLS
	}
	return brokers.StepDial
}

package rabbitmq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// dial connects to one of the addresses, which are tried in a random order. The
// error is an [*brokers.OpenError] of the last.
func (l *link) dial(ctx context.Context) (*connection, error) {
	var err error
	for _, i := range rand.Perm(len(l.cfg.Addresses)) {
		var conn *connection
		if conn, err = l.dialOne(ctx, l.cfg.Addresses[i]); err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// dialOne connects and logs in, within DialTimeout.
func (l *link) dialOne(ctx context.Context, address string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.DialTimeout)
	defer cancel()
	var line *coalesced
	var dialed error
	target := url.URL{Scheme: "amqp", Host: address}
	cfg := l.client()
	if l.cfg.TLS != nil {
		target.Scheme = schemeTLS
		cfg.TLSClientConfig = l.cfg.TLS.Clone() // the client writes into it
	}
	stop := func() bool { return true }
	cfg.Dial = func(network, address string) (net.Conn, error) {
		nc, err := l.cfg.Dial(ctx, network, address)
		if err != nil {
			dialed = err
			return nil, err
		}
		line = coalesce(nc)
		// The client knows no context: closing the line is how it learns.
		stop = context.AfterFunc(ctx, func() { _ = line.Close() })
		return line, nil
	}
	conn, err := amqp.DialConfig(target.String(), cfg)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return &connection{conn, line}, nil
	}
	if line != nil {
		_ = line.Close()
	}
	return nil, openError(ctx, address, step(dialed, err), err)
}

// client is the client's config. Recovery stays nil: see link.
func (l *link) client() amqp.Config {
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(l.cfg.Name + " " + l.purpose)
	cfg := amqp.Config{
		Vhost: l.cfg.VirtualHost, Heartbeat: l.cfg.Heartbeat, Properties: properties,
		SASL: []amqp.Authentication{&amqp.PlainAuth{Username: l.cfg.User, Password: l.cfg.Password.Reveal()}},
	}
	if l.cfg.ExternalAuth {
		cfg.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	}
	return cfg
}

// openError is an error of opening; the end of ctx goes before what it led to.
func openError(ctx context.Context, address, step string, err error) error {
	if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return &brokers.OpenError{Endpoint: address, Step: step, Err: err}
}

// step is in which step opening failed.
func step(dialed, err error) string {
	var (
		dns         *net.DNSError
		alert       tls.AlertError
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		record      tls.RecordHeaderError
		said        *amqp.Error
		operation   *net.OpError
	)
	switch {
	case errors.As(dialed, &dns):
		return brokers.StepResolve
	case dialed != nil:
		return brokers.StepDial
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &record), errors.As(err, &alert),
		errors.As(err, &operation) && operation.Op == "remote error":
		return brokers.StepTLS
	case errors.Is(err, amqp.ErrCredentials), errors.Is(err, amqp.ErrSASL),
		errors.As(err, &said) && said.Code == amqp.AccessRefused:
		return brokers.StepAuth
	}
	return brokers.StepVerify
}

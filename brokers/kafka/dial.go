package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/troupe-go/troupe/brokers"
)

// errClosedByServer is why opening failed when the server hangs up.
var errClosedByServer = errors.New("the server closed the connection; perhaps it wants TLS, or a login")

// dial connects to an address: network, TLS, versions and login. The error is an
// [*brokers.OpenError].
func (c *client) dial(ctx context.Context, address, clientID string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	nc, err := c.dialNetwork(ctx, address)
	if err != nil {
		return nil, err
	}
	opened := newConn(nc, address, clientID)
	if err := c.greet(ctx, opened); err != nil {
		opened.close()
		return nil, err
	}
	return opened, nil
}

// dialNetwork opens the connection, encrypted if it is to be.
func (c *client) dialNetwork(ctx context.Context, address string) (net.Conn, error) {
	nc, err := c.cfg.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, openError(ctx, address, dialStep(err), err)
	}
	if c.tls == nil {
		return nc, nil
	}
	cfg := c.tls
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		if host, _, err := net.SplitHostPort(address); err == nil {
			cfg.ServerName = host
		}
	}
	encrypted := tls.Client(nc, cfg)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, openError(ctx, address, brokers.StepTLS, err)
	}
	return encrypted, nil
}

// greet agrees on versions and logs in.
func (c *client) greet(ctx context.Context, to *conn) error {
	answer, err := to.roundTrip(ctx, &apiversions.Request{}, c.cfg.DialTimeout)
	if err != nil {
		return openError(ctx, to.address, verifyStep(err), hungUp(err))
	}
	versions := answer.(*apiversions.Response)
	if versions.ErrorCode != 0 {
		return openError(ctx, to.address, brokers.StepVerify, kafkago.Error(versions.ErrorCode))
	}
	to.versions = map[protocol.ApiKey]int16{}
	for _, v := range versions.ApiKeys {
		key := protocol.ApiKey(v.ApiKey)
		if version := key.SelectVersion(v.MinVersion, v.MaxVersion); v.MinVersion <= version && version <= v.MaxVersion {
			to.versions[key] = version
		}
	}
	if c.mechanism == nil {
		return nil
	}
	if err := c.login(ctx, to); err != nil {
		return openError(ctx, to.address, brokers.StepAuth, err)
	}
	return nil
}

// login authenticates by SASL.
func (c *client) login(ctx context.Context, to *conn) error {
	answer, err := to.roundTrip(ctx, &saslhandshake.Request{Mechanism: c.mechanism.Name()}, c.cfg.DialTimeout)
	if err != nil {
		return hungUp(err)
	}
	if h := answer.(*saslhandshake.Response); h.ErrorCode != 0 {
		return fmt.Errorf("%s: the server has %v: %w", c.mechanism.Name(), h.Mechanisms, kafkago.Error(h.ErrorCode))
	}
	host, _, _ := net.SplitHostPort(to.address)
	ctx = sasl.WithMetadata(ctx, &sasl.Metadata{Host: host})
	session, say, err := c.mechanism.Start(ctx)
	for done := false; err == nil && !done; {
		var answer protocol.Message
		answer, err = to.roundTrip(ctx, &saslauthenticate.Request{AuthBytes: say}, c.cfg.DialTimeout)
		if err != nil {
			return hungUp(err)
		}
		a := answer.(*saslauthenticate.Response)
		if a.ErrorCode != 0 {
			return fmt.Errorf("%s: %w: %s", c.mechanism.Name(), kafkago.Error(a.ErrorCode), a.ErrorMessage)
		}
		done, say, err = session.Next(ctx, a.AuthBytes)
	}
	return err
}

// openError is an error of opening; the end of ctx goes before what it led to.
func openError(ctx context.Context, address, step string, err error) error {
	if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return &brokers.OpenError{Endpoint: address, Step: step, Err: err}
}

func dialStep(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return brokers.StepResolve
	}
	return brokers.StepDial
}

// verifyStep says what was wrong when the first request failed. With TLS 1.3 a
// server complains about the client's certificate only then.
func verifyStep(err error) string {
	var (
		alert     tls.AlertError
		operation *net.OpError
		authority x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(err, errExpectsTLS), errors.As(err, &alert), errors.As(err, &authority),
		errors.As(err, &operation) && operation.Op == "remote error":
		return brokers.StepTLS
	}
	return brokers.StepVerify
}

// hungUp says more of a connection that was closed by the server.
func hungUp(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", errClosedByServer, err)
	}
	return err
}

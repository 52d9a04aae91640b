package nats_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// secured starts a server that wants a login.
func secured(t *testing.T, opts server.Options) (s *server.Server, address string) {
	t.Helper()
	opts.Host, opts.NoSigs, opts.NoLog = "127.0.0.1", true, true
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	if opts.Port == 0 {
		opts.Port = -1
	}
	s, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server did not start")
	}
	return s, s.Addr().String()
}

// opened says how an attempt to open ended.
func opened(t *testing.T, dsn string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := brokers.Open(ctx, dsn, nats.Driver)
	if err == nil {
		err = b.Close()
	}
	return err
}

// refused checks that a login was, and that the error has no secret.
func refused(t *testing.T, dsn, step string, secrets ...string) {
	t.Helper()
	err := opened(t, dsn)
	var failed *brokers.OpenError
	if !errors.As(err, &failed) || failed.Step != step {
		t.Errorf("wrong login: %v; want an OpenError of step %q", err, step)
		return
	}
	for _, secret := range secrets {
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
			t.Errorf("the error has a secret: %v", err)
		}
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoginByPassword(t *testing.T) {
	_, at := secured(t, server.Options{Username: "app", Password: "s3cret"})
	t.Setenv("LOGIN_PASSWORD", "s3cret")
	for _, dsn := range []string{"nats://app:s3cret@" + at, "nats://app@" + at + "?password_env=LOGIN_PASSWORD", "nats://app@" + at + "?password_file=" + file(t, "s3cret\n")} {
		if err := opened(t, dsn); err != nil {
			t.Error(err)
		}
	}
	refused(t, "nats://app:wr0ng@"+at, brokers.StepAuth, "wr0ng")
	refused(t, "nats://"+at, brokers.StepAuth)
}

func TestLoginByToken(t *testing.T) {
	_, at := secured(t, server.Options{Authorization: "t0ken"})
	t.Setenv("LOGIN_TOKEN", "t0ken")
	for _, option := range []string{"token=t0ken", "token_env=LOGIN_TOKEN", "token_file=" + file(t, "t0ken\n")} {
		if err := opened(t, "nats://"+at+"?"+option); err != nil {
			t.Errorf("%s: %v", option, err)
		}
	}
	refused(t, "nats://"+at+"?token=wr0ng", brokers.StepAuth, "wr0ng")
}

func TestLoginByNKey(t *testing.T) {
	public, seed := newUser(t)
	_, other := newUser(t)
	_, at := secured(t, server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})
	t.Setenv("LOGIN_SEED", seed)
	for _, option := range []string{"nkey=" + seed, "nkey_env=LOGIN_SEED", "nkey_file=" + file(t, seed+"\n")} {
		if err := opened(t, "nats://"+at+"?"+option); err != nil {
			t.Errorf("%s: %v", strings.ReplaceAll(option, seed, "..."), err)
		}
	}
	refused(t, "nats://"+at+"?nkey="+other, brokers.StepAuth, other)
}

func newUser(t *testing.T) (public, seed string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return public, string(text)
}

func TestLoginByCredentials(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	operator, err := nkeys.CreateOperator()
	must(err)
	operatorID, err := operator.PublicKey()
	must(err)
	account, err := nkeys.CreateAccount()
	must(err)
	accountID, err := account.PublicKey()
	must(err)
	system, err := nkeys.CreateAccount()
	must(err)
	systemID, err := system.PublicKey()
	must(err)

	claims := jwt.NewAccountClaims(accountID)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	accountJWT, err := claims.Encode(operator)
	must(err)
	systemJWT, err := jwt.NewAccountClaims(systemID).Encode(operator)
	must(err)
	resolver := &server.MemAccResolver{}
	must(resolver.Store(accountID, accountJWT))
	must(resolver.Store(systemID, systemJWT))
	trusted := jwt.NewOperatorClaims(operatorID)
	trusted.SystemAccount = systemID
	_, at := secured(t, server.Options{
		TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: resolver, SystemAccount: systemID,
	})
	credentials := func(signedBy nkeys.KeyPair) string {
		public, seed := newUser(t)
		user, err := jwt.NewUserClaims(public).Encode(signedBy)
		must(err)
		text, err := jwt.FormatUserConfig(user, []byte(seed))
		must(err)
		return string(text)
	}
	good := credentials(account)
	t.Setenv("LOGIN_CREDENTIALS", good)
	for _, option := range []string{"credentials_env=LOGIN_CREDENTIALS", "credentials_file=" + file(t, good)} {
		if err := opened(t, "nats://"+at+"?"+option); err != nil {
			t.Errorf("%s: %v", option, err)
		}
	}
	stranger, err := nkeys.CreateAccount()
	must(err)
	refused(t, "nats://"+at+"?credentials_file="+file(t, credentials(stranger)), brokers.StepAuth)
}

func TestLoginInvalid(t *testing.T) {
	for dsn, want := range map[string]string{
		"nats://a:b@h?token=x":                       "more than one login",
		"nats://h?nkey=SUnonsense":                   "NKey",
		"nats://h?token_env=NOT_THERE_AT_ALL":        "NOT_THERE_AT_ALL",
		"nats://h?token=x&token_env=HOME":            "more than one of",
		"nats://h?nkey_file=/not/there":              "nkey_file",
		"nats://h?credentials_file=/not/there":       "CredentialsFile",
		"nats://h?ca_file=x":                         "ca_file",
		"nats+tls://h?ca_file=/not/there":            "ca_file",
		"nats+tls://h?cert_file=/not/there":          "key_file",
		"nats+tls://h?cert_file=/a/b&key_file=/a/b":  "cert_file",
		"nats://h?credentials_env=NOT_THERE_AT_ALL2": "NOT_THERE_AT_ALL2",
	} {
		err := opened(t, dsn)
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: %v; want ErrInvalid with %q", dsn, err, want)
		}
	}
	cfg := nats.Config{Token: brokers.NewSecret("s3cret"), NKey: brokers.NewSecret("s3cret"), Credentials: brokers.NewSecret("s3cret")}
	if text := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg); strings.Contains(text, "s3cret") {
		t.Errorf("printed, a config says %s", text)
	}
}

// tlsServer is the real server with TLS, and the authority that signed it.
func tlsServer(t *testing.T) (url, ca string) {
	t.Helper()
	serverURL(t)
	url, ca = os.Getenv("TEST_NATS_TLS_URL"), os.Getenv("TEST_CA_FILE")
	if url == "" {
		if os.Getenv("REQUIRE_BROKERS") == "1" {
			t.Fatal("TEST_NATS_TLS_URL is not set")
		}
		t.Skip("TEST_NATS_TLS_URL is not set")
	}
	return url, ca
}

func TestTLSOnServer(t *testing.T) {
	url, ca := tlsServer(t)
	for _, option := range []string{"", "&tls_first=true"} {
		if err := opened(t, url+"?ca_file="+ca+option); err != nil {
			t.Errorf("%q: %v", option, err)
		}
	}
	refused(t, url, brokers.StepTLS, "app-secret") // an authority that nobody knows
	refused(t, url+"?ca_file="+ca+"&server_name=elsewhere", brokers.StepTLS, "app-secret")
	refused(t, strings.Replace(url, ":app-secret", ":wr0ng", 1)+"?ca_file="+ca, brokers.StepAuth, "wr0ng")
}

// server has a certificate by the authority, and wants one of clients if mutual.
func (a *authority) server(mutual bool) server.Options {
	a.t.Helper()
	opts := server.Options{
		TLS: true, TLSTimeout: 5, TLSConfig: &tls.Config{Certificates: []tls.Certificate{a.pair("server")}, MinVersion: tls.VersionTLS12},
	}
	if mutual {
		opts.TLSVerify, opts.TLSConfig.ClientAuth, opts.TLSConfig.ClientCAs = true, tls.RequireAndVerifyClientCert, a.pool
	}
	return opts
}

// trusting is a server that wants a certificate by another authority.
func (a *authority) trusting(other *authority) server.Options {
	a.t.Helper()
	opts := a.server(true)
	opts.TLSConfig.ClientCAs = other.pool
	return opts
}

// A server that wants a certificate takes one by the authority that it knows, and
// no other.
func TestMutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	_, at := secured(t, ours.server(true))
	dsn := func(trusts, signed *authority) string {
		cert, key := signed.files("client")
		return "nats+tls://" + at + "?ca_file=" + trusts.file + "&cert_file=" + cert + "&key_file=" + key
	}
	if err := opened(t, dsn(ours, ours)); err != nil {
		t.Error(err)
	}
	refused(t, "nats+tls://"+at+"?ca_file="+ours.file, brokers.StepTLS)
	refused(t, dsn(ours, theirs), brokers.StepTLS)
	refused(t, dsn(theirs, ours), brokers.StepTLS)
	refused(t, "nats://"+at, brokers.StepTLS) // it says that it wants TLS
	_, plain := secured(t, server.Options{})
	refused(t, "nats+tls://"+plain+"?ca_file="+ours.file, brokers.StepTLS)
}

// What let it in once and does not any more is tried again with a growing wait,
// for ever; Health says why; the log says it once; no secret is in either.
func TestLoginLostBacksOff(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	public, seed := newUser(t)
	other, _ := newUser(t)
	for name, c := range map[string]struct {
		before, after server.Options
		cfg           nats.Config
		step          string
	}{
		"Password": {
			server.Options{Username: "app", Password: "s3cret"},
			server.Options{Username: "app", Password: "changed"},
			nats.Config{User: "app", Password: brokers.NewSecret("s3cret")},
			brokers.StepAuth,
		},
		"Token": {
			server.Options{Authorization: "s3cret"},
			server.Options{Authorization: "changed"},
			nats.Config{Token: brokers.NewSecret("s3cret")},
			brokers.StepAuth,
		},
		"NKey": {
			server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}},
			server.Options{Nkeys: []*server.NkeyUser{{Nkey: other}}},
			nats.Config{NKey: brokers.NewSecret(seed)},
			brokers.StepAuth,
		},
		"Authority":   {ours.server(false), theirs.server(false), nats.Config{TLS: ours.client()}, brokers.StepTLS},
		"Certificate": {ours.server(true), ours.trusting(theirs), nats.Config{TLS: ours.client()}, brokers.StepTLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, at := secured(t, c.before)
			b, dials, logs := watchedLogin(t, at, c.cfg)
			again := func(opts server.Options) *server.Server {
				first.Shutdown()
				first.WaitForShutdown()
				opts.Port = port(t, at)
				s, _ := secured(t, opts)
				return s
			}
			began := time.Now()
			first = again(c.after)
			await := func(what string, is func(brokers.Health) bool) {
				t.Helper()
				eventually(t, what, func() bool { return is(b.Health(t.Context())) })
			}
			await("Health says what is wrong", func(h brokers.Health) bool {
				return !h.Connected && h.Err != nil && strings.Contains(h.Err.Error(), "connect again: "+c.step)
			})
			const attempts = 10
			eventually(t, "attempts", func() bool { return dials.Load() > attempts })
			// Waits double from 10 to 20 ms, to 100 to 200 ms.
			if took := time.Since(began); took < 500*time.Millisecond {
				t.Errorf("%d attempts in %v: no back-off", dials.Load(), took)
			}
			if n := logs.FilterMessageSnippet("cannot connect again").Len(); n != 1 {
				t.Errorf("it was logged %d times: %v", n, logs.All())
			}
			if text := fmt.Sprint(b.Health(t.Context()), logs.All()); strings.Contains(text, "s3cret") || strings.Contains(text, seed) {
				t.Errorf("a secret is in %s", text)
			}
			again(c.before)
			await("it is back when it may", func(h brokers.Health) bool { return h.Connected && h.Err == nil })
		})
	}
}

// watchedLogin connects, with what it dials counted and its log kept.
func watchedLogin(t *testing.T, address string, cfg nats.Config) (*nats.Broker, *atomic.Int64, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	dials := &countingDialer{}
	cfg.Servers, cfg.ReconnectWait, cfg.Logger = []string{"nats://" + address}, 200*time.Millisecond, zap.New(core)
	cfg.Options = []client.Option{client.SetCustomDialer(dials)}
	b, err := nats.Open(lasting(t, patience), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, &dials.count, logs
}

type countingDialer struct{ count atomic.Int64 }

func (d *countingDialer) Dial(network, address string) (net.Conn, error) {
	d.count.Add(1)
	return net.Dial(network, address)
}

func port(t *testing.T, address string) (n int) {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err == nil {
		n, err = strconv.Atoi(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

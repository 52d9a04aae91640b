package nats_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

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

func TestMutualTLS(t *testing.T) {
	_, ca := tlsServer(t)
	dir := filepath.Dir(ca)
	cert, key := os.Getenv("TEST_CLIENT_CERT_FILE"), os.Getenv("TEST_CLIENT_KEY_FILE")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	_, at := secured(t, server.Options{
		TLS: true, TLSVerify: true, TLSTimeout: 5,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12},
	})
	if err := opened(t, "nats+tls://"+at+"?ca_file="+ca+"&cert_file="+cert+"&key_file="+key); err != nil {
		t.Error(err)
	}
	refused(t, "nats+tls://"+at+"?ca_file="+ca, brokers.StepTLS)
}

// logins counts who comes, and lets them in while they may.
type logins struct {
	mu    sync.Mutex
	allow bool
	times []time.Time
}

func (l *logins) Check(server.ClientAuthentication) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, time.Now())
	return l.allow
}

// A login that is not good any more is tried again with a growing wait, and
// Health says why.
func TestLoginLostBacksOff(t *testing.T) {
	auth := &logins{allow: true}
	opts := server.Options{CustomClientAuthentication: auth}
	first, at := secured(t, opts)
	b, err := nats.Open(t.Context(), nats.Config{Servers: []string{"nats://" + at}, ReconnectWait: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	auth.mu.Lock()
	auth.allow, auth.times = false, nil
	auth.mu.Unlock()
	first.Shutdown()
	first.WaitForShutdown()
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(port, &opts.Port); err != nil {
		t.Fatal(err)
	}
	secured(t, opts)
	const watched = 3 * time.Second
	<-time.After(watched) // how often it comes in a time is what is tested
	if h := b.Health(t.Context()); h.Connected || h.Err == nil {
		t.Errorf("Health is %+v without a login", h)
	}
	auth.mu.Lock()
	n := len(auth.times)
	auth.allow = true
	auth.mu.Unlock()
	// Waits are of 100 to 200 ms, once they have grown.
	if most := int(watched/(100*time.Millisecond)) + 8; n < 3 || n > most {
		t.Errorf("%d attempts in %v; want 3 to %d", n, watched, most)
	}
	for ctx := lasting(t, 20*time.Second); !b.Health(ctx).Connected; {
		select {
		case <-ctx.Done():
			t.Fatal("it did not come back when it might")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

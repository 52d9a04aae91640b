package rabbitmq_test

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait for a server.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// server is a server under test: the variables that name it.
type server struct {
	plain, tls string
	management string
	command    string // of tests/services, for operators
	optional   bool
}

// servers are those under test, by version. Version 4 starts only when it is asked
// for.
var servers = map[string]server{
	"3.10": {plain: "TEST_AMQP_URL", tls: "TEST_AMQPS_URL", management: "TEST_RABBITMQ_API_URL", command: "rabbitmqctl"},
	"4.0":  {plain: "TEST_AMQP4_URL", tls: "TEST_AMQPS4_URL", management: "TEST_RABBITMQ4_API_URL", command: "rabbitmqctl4", optional: true},
}

// serverURL is the value of a variable.
func serverURL(tb testing.TB, variable string, optional bool) string {
	tb.Helper()
	url := os.Getenv(variable)
	if url == "" {
		if !optional && os.Getenv("REQUIRE_BROKERS") == "1" {
			tb.Fatalf("%s is not set", variable)
		}
		tb.Skipf("%s is not set", variable)
	}
	return url
}

// onEach runs a test on each server.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	for version, s := range servers {
		t.Run(version, func(t *testing.T) { test(t, serverURL(t, s.plain, s.optional)) })
	}
}

// config is what a URL says.
func config(tb testing.TB, url string) rabbitmq.Config {
	tb.Helper()
	dsn, err := brokers.ParseDSN(url)
	if err != nil {
		tb.Fatal(err)
	}
	cfg, err := rabbitmq.ConfigFrom(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	return cfg
}

// open opens a broker for a test's time.
func open(tb testing.TB, cfg rabbitmq.Config) *rabbitmq.Broker {
	tb.Helper()
	b, err := rabbitmq.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// admin is another client's channel.
func admin(tb testing.TB, url string) *amqp.Channel {
	tb.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatal(err)
	}
	return ch
}

func clientTLS(tb testing.TB, mutual bool) *tls.Config {
	tb.Helper()
	text, err := os.ReadFile(os.Getenv("TEST_CA_FILE"))
	if err != nil {
		tb.Fatal(err)
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	cfg.RootCAs.AppendCertsFromPEM(text)
	if mutual {
		pair, err := tls.LoadX509KeyPair(os.Getenv("TEST_CLIENT_CERT_FILE"), os.Getenv("TEST_CLIENT_KEY_FILE"))
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// manage asks the management interface of the server, and returns its answer.
func manage(t *testing.T, method, path, body string) []byte {
	t.Helper()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), method, serverURL(t, "TEST_RABBITMQ_API_URL", false)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %v", method, path, res.Status, err)
	}
	return answer
}

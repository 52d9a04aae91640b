// Command probe makes one real round trip to a server and exits 0 if the
// server did its part: Kafka (login, metadata), RabbitMQ (login, open of the
// virtual host), its stream plugin (login) or NATS (login, JetStream account
// info).
//
//	probe [-ca FILE] [-tls] [-node ID] kafka|amqp|amqps|rabbitmq-stream|nats://[user:password@]host:port
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"
)

const timeout = 3 * time.Second

var (
	caFile = flag.String("ca", "", "PEM file of the CA that signed the server's certificate")
	useTLS = flag.Bool("tls", false, "speak TLS (amqps:// always does)")
	node   = flag.Int("node", -1, "Kafka: the broker id that the metadata must list")
)

func main() {
	flag.Parse()
	if err := run(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", u.Host, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	switch u.Scheme {
	case "kafka":
		return kafka(conn, u)
	case "amqp", "amqps":
		return amqp(conn, u)
	case "rabbitmq-stream":
		return stream(conn, u)
	case "nats":
		return nats(conn, u)
	}
	return fmt.Errorf("unknown scheme %q", u.Scheme)
}

// secure wraps conn in TLS and verifies the server's certificate.
func secure(conn net.Conn, u *url.URL) (net.Conn, error) {
	pem, err := os.ReadFile(*caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + *caFile)
	}
	client := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: u.Hostname()})
	return client, client.Handshake()
}

func login(u *url.URL) (user, password string) {
	password, _ = u.User.Password()
	return u.User.Username(), password
}

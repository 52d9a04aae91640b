package nats

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/troupe-go/troupe/brokers"
)

// readTLS reads the options of TLS, which without it are unknown.
func readTLS(dsn *brokers.DSN, cfg *Config) error {
	if dsn.Scheme != "nats+tls" && dsn.Scheme != "tls" {
		return nil
	}
	ca, cert, key := dsn.Text("ca_file", ""), dsn.Text("cert_file", ""), dsn.Text("key_file", "")
	cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: dsn.Text("server_name", "")}
	cfg.TLSFirst = dsn.Bool("tls_first", false)
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("%w: option ca_file: %w", brokers.ErrInvalid, err)
		}
		cfg.TLS.RootCAs = x509.NewCertPool()
		if !cfg.TLS.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("%w: option ca_file: no certificate in %s", brokers.ErrInvalid, ca)
		}
	}
	if (cert == "") != (key == "") {
		return fmt.Errorf("%w: options cert_file and key_file go together", brokers.ErrInvalid)
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("%w: options cert_file, key_file: %w", brokers.ErrInvalid, err)
		}
		cfg.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}

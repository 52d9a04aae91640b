package brokers

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLSFiles is what a DSN says of encryption: files in PEM, and the name that the
// server's certificate is to have. Empty fields are not given.
type TLSFiles struct {
	// CA signs the servers' certificates. Defaults to the system's authorities.
	CA string
	// Cert and Key are a client's, and go together.
	Cert, Key string
	// ServerName defaults to the host that is dialled.
	ServerName string
}

// TLSFiles reads the options ca_file, cert_file, key_file and server_name. A driver
// asks for them where the scheme means TLS; elsewhere they are unknown.
func (d *DSN) TLSFiles() TLSFiles {
	return TLSFiles{
		CA: d.Text("ca_file", ""), Cert: d.Text("cert_file", ""), Key: d.Text("key_file", ""),
		ServerName: d.Text("server_name", ""),
	}
}

// Config reads the files; it allows TLS 1.2 and later. An error wraps [ErrInvalid]
// and names the option.
func (f TLSFiles) Config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("%w: option ca_file: %w", ErrInvalid, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: option ca_file: no certificate in %s", ErrInvalid, f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, fmt.Errorf("%w: options cert_file and key_file go together", ErrInvalid)
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: options cert_file, key_file: %w", ErrInvalid, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

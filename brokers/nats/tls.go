package nats

import "github.com/troupe-go/troupe/brokers"

// readTLS reads the options of TLS, which without it are unknown.
func readTLS(dsn *brokers.DSN, cfg *Config) error {
	if dsn.Scheme != "nats+tls" && dsn.Scheme != "tls" {
		return nil
	}
	files := dsn.TLSFiles()
	cfg.TLSFirst = dsn.Bool("tls_first", false)
	var err error
	cfg.TLS, err = files.Config()
	return err
}

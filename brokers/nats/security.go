package nats

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/troupe-go/troupe/brokers"
)

// checkLogin allows one way to log in. Certificates go with each.
func (c Config) checkLogin() error {
	var ways []string
	for _, way := range []struct {
		name  string
		given bool
	}{
		{"User", c.User != ""},
		{"Token", c.Token != brokers.Secret{}},
		{"NKey", c.NKey != brokers.Secret{}},
		{"Credentials", c.Credentials != brokers.Secret{}},
		{"CredentialsFile", c.CredentialsFile != ""},
	} {
		if way.given {
			ways = append(ways, way.name)
		}
	}
	if len(ways) > 1 {
		return fmt.Errorf("%w: nats.Config has more than one login: %s", brokers.ErrInvalid, strings.Join(ways, ", "))
	}
	if c.User == "" && c.Password != (brokers.Secret{}) {
		return fmt.Errorf("%w: nats.Config.Password has no User", brokers.ErrInvalid)
	}
	if c.TLSFirst && c.TLS == nil {
		return fmt.Errorf("%w: nats.Config.TLSFirst has no TLS", brokers.ErrInvalid)
	}
	return nil
}

// security returns the client's options for encryption and login.
func (c Config) security() ([]nats.Option, error) {
	var options []nats.Option
	if c.TLS != nil {
		options = append(options, nats.Secure(c.TLS))
		if c.TLSFirst {
			options = append(options, nats.TLSHandshakeFirst())
		}
	}
	switch {
	case c.User != "":
		options = append(options, nats.UserInfo(c.User, c.Password.Reveal()))
	case c.Token != brokers.Secret{}:
		options = append(options, nats.Token(c.Token.Reveal()))
	case c.NKey != brokers.Secret{}:
		option, err := signer(c.NKey)
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	case c.Credentials != brokers.Secret{}:
		if !strings.Contains(c.Credentials.Reveal(), "BEGIN NATS USER JWT") {
			return nil, fmt.Errorf("%w: nats.Config.Credentials is no credentials file", brokers.ErrInvalid)
		}
		options = append(options, nats.UserCredentialBytes([]byte(c.Credentials.Reveal())))
	case c.CredentialsFile != "":
		// The client reads it for each connection, so that it can be exchanged.
		if _, err := os.Stat(c.CredentialsFile); err != nil {
			return nil, fmt.Errorf("%w: nats.Config.CredentialsFile: %w", brokers.ErrInvalid, err)
		}
		options = append(options, nats.UserCredentials(c.CredentialsFile))
	}
	return options, nil
}

// signer logs in by a signature of the server's nonce.
func signer(seed brokers.Secret) (nats.Option, error) {
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(seed.Reveal())))
	if err != nil {
		return nil, fmt.Errorf("%w: nats.Config.NKey is no seed of a user", brokers.ErrInvalid)
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, fmt.Errorf("%w: nats.Config.NKey is no seed of a user", brokers.ErrInvalid)
	}
	return nats.Nkey(public, pair.Sign), nil
}

// secretOption reads a secret from the option name, the file that name_file
// names, or the variable that name_env names.
func secretOption(dsn *brokers.DSN, name string) (brokers.Secret, error) {
	direct, file, variable := dsn.Secret(name), dsn.Text(name+"_file", ""), dsn.Text(name+"_env", "")
	given := 0
	for _, is := range []bool{direct != brokers.Secret{}, file != "", variable != ""} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return brokers.Secret{}, fmt.Errorf("%w: DSN has more than one of %s, %s_file and %s_env", brokers.ErrInvalid, name, name, name)
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return brokers.Secret{}, fmt.Errorf("%w: option %s_file: %w", brokers.ErrInvalid, name, err)
		}
		return brokers.NewSecret(strings.TrimSpace(string(text))), nil
	case variable != "":
		text, ok := os.LookupEnv(variable)
		if !ok {
			return brokers.Secret{}, fmt.Errorf("%w: option %s_env: the environment has no %q", brokers.ErrInvalid, name, variable)
		}
		return brokers.NewSecret(text), nil
	}
	return direct, nil
}

// readLogin reads the options that log in.
func readLogin(dsn *brokers.DSN, cfg *Config) error {
	cfg.CredentialsFile = dsn.Text("credentials_file", "")
	var errs []error
	read := func(name string) brokers.Secret {
		secret, err := secretOption(dsn, name)
		errs = append(errs, err)
		return secret
	}
	cfg.Token, cfg.NKey = read("token"), read("nkey")
	if variable := dsn.Text("credentials_env", ""); variable != "" {
		text, ok := os.LookupEnv(variable)
		if !ok {
			errs = append(errs, fmt.Errorf("%w: option credentials_env: the environment has no %q", brokers.ErrInvalid, variable))
		}
		cfg.Credentials = brokers.NewSecret(text)
	}
	return errors.Join(errs...)
}

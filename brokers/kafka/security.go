package kafka

import (
	"fmt"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/troupe-go/troupe/brokers"
)

// login returns the mechanism to log in with; nil without a user.
func (c *Config) login() (sasl.Mechanism, error) {
	if c.User == "" {
		return nil, nil
	}
	algorithm := scram.SHA512
	switch c.Mechanism {
	case Plain:
		return plain.Mechanism{Username: c.User, Password: c.Password.Reveal()}, nil
	case ScramSHA256:
		algorithm = scram.SHA256
	case ScramSHA512:
	}
	m, err := scram.Mechanism(algorithm, c.User, c.Password.Reveal())
	if err != nil {
		// The cause may quote what it does not like.
		return nil, fmt.Errorf("%w: kafka.Config.User or Password has characters that %s does not allow", brokers.ErrInvalid, algorithm.Name())
	}
	return m, nil
}

package actors

import (
	"encoding/json"

	"github.com/troupe-go/troupe/brokers"
)

// Codec turns payloads into values for typed handlers, and values that handlers
// publish into payloads. It is used concurrently.
type Codec interface {
	// Decode fills into, a pointer, from m. An error is permanent: the message
	// is not tried again.
	Decode(m *brokers.Message, into any) error
	// Encode sets m's payload, and what else says how to read it.
	Encode(v any, m *brokers.Message) error
}

// JSON is the Codec of encoding/json.
type JSON struct{}

// Decode unmarshals the payload.
func (JSON) Decode(m *brokers.Message, into any) error { return json.Unmarshal(m.Payload, into) }

// Encode marshals v.
func (JSON) Encode(v any, m *brokers.Message) (err error) {
	m.ContentType = "application/json"
	m.Payload, err = json.Marshal(v)
	return err
}

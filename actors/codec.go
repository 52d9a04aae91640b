package actors

import (
	"encoding/json"
	"reflect"

	"github.com/troupe-go/troupe/brokers"
)

// Codec turns payloads into values for typed handlers, and values that handlers
// publish into payloads. It is used concurrently.
//
// A Codec may also say what type a message has, by a method
// TypeName(*brokers.Message) string, where headers do not tell.
type Codec interface {
	// Decode fills into, a pointer, from m. It keeps nothing of m. An error is
	// permanent: the message is not tried again.
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

// Protobuf is the Codec of Protocol Buffers, by functions, so that programs
// without them do not link them. With google.golang.org/protobuf:
//
//	actors.Protobuf{
//		Marshal:   func(v any) ([]byte, error) { return proto.Marshal(v.(proto.Message)) },
//		Unmarshal: func(b []byte, v any) error { return proto.Unmarshal(b, v.(proto.Message)) },
//	}
//
// Handlers are registered for pointers to the generated types.
type Protobuf struct {
	Marshal   func(v any) ([]byte, error)
	Unmarshal func(payload []byte, v any) error
}

// Decode unmarshals the payload.
func (p Protobuf) Decode(m *brokers.Message, into any) error { return p.Unmarshal(m.Payload, into) }

// Encode marshals v.
func (p Protobuf) Encode(v any, m *brokers.Message) (err error) {
	m.ContentType = "application/protobuf"
	m.Payload, err = p.Marshal(v)
	return err
}

// decodeAs decodes a payload as an M; an M that is a pointer is made first.
func decodeAs[M any](c Codec, m *brokers.Message) (any, error) {
	if t := reflect.TypeFor[M](); t.Kind() == reflect.Pointer {
		v := reflect.New(t.Elem()).Interface()
		return v, c.Decode(m, v)
	}
	var v M
	err := c.Decode(m, &v)
	return v, err
}

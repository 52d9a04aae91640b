package actortest

import (
	"fmt"
	"reflect"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// decode reads a message as a value of a type, as a handler registered for the
// type's name would.
func decode(codec actors.Codec, m *brokers.Message, t reflect.Type) (any, error) {
	if t == nil {
		return nil, fmt.Errorf("cannot be nil")
	}
	pointer := t.Kind() == reflect.Pointer
	if pointer {
		t = t.Elem()
	}
	into := reflect.New(t)
	if name := typeOf(codec, m); name != "" && name != typeName(into.Interface()) {
		return nil, fmt.Errorf("is a %s", name)
	}
	if err := codec.Decode(m, into.Interface()); err != nil {
		return nil, err
	}
	if pointer {
		return into.Interface(), nil
	}
	return into.Elem().Interface(), nil
}

// encode makes a message of a value as actors.Context.Publish does: []byte and
// brokers.Message go as they are.
func encode(codec actors.Codec, v any) (m brokers.Message, err error) {
	switch v := v.(type) {
	case brokers.Message:
		return v, nil
	case []byte:
		m.Payload = v
		return m, nil
	}
	m.Headers = brokers.Headers{{Key: "type", Value: []byte(typeName(v))}}
	return m, codec.Encode(v, &m)
}

// typeOf is the type name that a message carries, "" if none.
func typeOf(codec actors.Codec, m *brokers.Message) string {
	if namer, ok := codec.(interface {
		TypeName(*brokers.Message) string
	}); ok {
		if name := namer.TypeName(m); name != "" {
			return name
		}
	}
	if name := m.Headers.Text("ce_type"); name != "" {
		return name
	}
	return m.Headers.Text("type")
}

// typeName is the name under which a value's type travels: what its EventType
// method says, or else the type's own.
func typeName(v any) string {
	if named, ok := v.(interface{ EventType() string }); ok {
		return named.EventType()
	}
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return ""
	}
	return t.Name()
}

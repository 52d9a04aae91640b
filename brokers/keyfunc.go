package brokers

import "strings"

// KeyFunc finds the key of a message. ok is false if it has none; an empty key
// is one. The key may share memory with m and must not be changed. A KeyFunc is
// called concurrently.
type KeyFunc func(m *Message) (key []byte, ok bool)

// MessageKey is the key that the message was published with.
func MessageKey(m *Message) (key []byte, ok bool) { return m.Key, m.Key != nil }

// HeaderKey is the value of the last header of that name. A nil value is no key.
func HeaderKey(name string) KeyFunc {
	return func(m *Message) ([]byte, bool) {
		v, _ := m.Headers.Get(name)
		return v, v != nil
	}
}

// JSONKey is a field of a JSON payload. path names it, with dots between the
// names of nested objects: "customer.id". The key is
//   - of a string: its text, with the escapes resolved;
//   - of a number, true or false: its characters exactly as they are written, so
//     that 1, 1.0 and 1e0 are three keys;
//   - none, if the field is an object, an array, null or not there, or if the
//     payload is not valid JSON or nested deeper than 64.
//
// Of members with equal names the last counts. Names that contain a dot and
// elements of arrays have no path.
func JSONKey(path string) KeyFunc {
	names := strings.Split(path, ".")
	return func(m *Message) ([]byte, bool) { return jsonField(m.Payload, names) }
}

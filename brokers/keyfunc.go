package brokers

// KeyFunc finds the key of a message; ok is false if it has none.
type KeyFunc func(m *Message) (key []byte, ok bool)

// MessageKey is Message.Key.
func MessageKey(m *Message) (key []byte, ok bool) { return m.Key, m.Key != nil }

// HeaderKey is the last header of that name.
func HeaderKey(name string) KeyFunc {
	return func(m *Message) ([]byte, bool) { return m.Headers.Get(name) }
}

// JSONKey is a field of a JSON payload, by a dotted path.
func JSONKey(path string) KeyFunc {
	return func(*Message) ([]byte, bool) { return nil, false }
}

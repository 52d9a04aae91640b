package memory

import "github.com/troupe-go/troupe/brokers"

// arena copies what messages point to into two blocks, so that a batch costs
// two allocations and its messages share no memory with their originals.
type arena struct {
	bytes   []byte
	headers []brokers.Header
}

// newArena returns an arena with room for what the batch points to.
func newArena(batch []*brokers.Message) arena {
	var size, headers int
	for _, m := range batch {
		size += len(m.Key) + len(m.Payload)
		headers += len(m.Headers)
		for i := range m.Headers {
			size += len(m.Headers[i].Value)
		}
	}
	a := arena{bytes: make([]byte, 0, size)}
	if headers > 0 {
		a.headers = make([]brokers.Header, 0, headers)
	}
	return a
}

// adopt returns m with all its bytes in the arena.
func (a *arena) adopt(m brokers.Message) brokers.Message {
	m.Key = a.copy(m.Key)
	m.Payload = a.copy(m.Payload)
	if m.Headers == nil {
		return m
	}
	from := len(a.headers)
	for _, h := range m.Headers {
		h.Value = a.copy(h.Value)
		a.headers = append(a.headers, h)
	}
	m.Headers = brokers.Headers(a.headers[from:len(a.headers):len(a.headers)])
	return m
}

// copy keeps nil and empty apart, and caps the result so that appending to it
// cannot reach its neighbour.
func (a *arena) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	from := len(a.bytes)
	a.bytes = append(a.bytes, b...)
	return a.bytes[from:len(a.bytes):len(a.bytes)]
}

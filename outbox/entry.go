package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// ErrNoID is returned for a message that has no id where one is needed: a repeat
// of it could not be told. Set Message.ID to something that follows from what the
// message tells of.
var ErrNoID = errors.New("outbox: message has no id")

// Entry is a message as a store keeps it.
type Entry struct {
	// Data is the message, by [Encode].
	Data []byte
	// Lane is a hash of topic and key, or of topic and id where there is no key. It
	// stays as it is from version to version.
	Lane uint64
	// Keyed says that the message has a key, so that those who write to the lane
	// are to commit one after the other.
	Keyed bool
}

// NewEntry makes the entry of a message. One without a topic gets the one that
// route, if any, has for its type: the header "ce_type" or "type". One without a
// time gets the present one. The errors are those of [Encode].
func NewEntry(m brokers.Message, route func(messageType string) (topic string)) (Entry, error) {
	if m.Topic == "" && route != nil {
		messageType := m.Headers.Text("ce_type")
		if messageType == "" {
			messageType = m.Headers.Text("type")
		}
		if m.Topic = route(messageType); m.Topic == "" {
			return Entry{}, fmt.Errorf("outbox: message %q: Route has no topic for type %q: %w", m.ID, messageType, brokers.ErrInvalid)
		}
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	data, err := Encode(&m)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Data: data, Lane: lane(&m), Keyed: m.Key != nil}, nil
}

func lane(m *brokers.Message) uint64 {
	h := fnv.New64a()
	part := func(b []byte) {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(b)))) // it cannot fail
		_, _ = h.Write(b)                                         // nor this
	}
	part([]byte("troupe outbox"))
	part([]byte(m.Topic))
	if m.Key != nil {
		part(m.Key)
	} else {
		part([]byte(m.ID))
	}
	return h.Sum64()
}

// NewRow is the row of an entry that was stored. known is its lane, nil in
// those of versions that kept none.
func NewRow(seq int64, known *int64, data []byte, at time.Time) Row {
	row := Row{Seq: seq, Lane: seq, At: at}
	row.Message, row.Fault = Decode(data)
	switch {
	case known != nil:
		row.Lane = *known
	case row.Fault == nil:
		row.Lane = int64(lane(&row.Message)) // any 64 bits will do
	}
	return row
}

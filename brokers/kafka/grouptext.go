package kafka

import (
	"encoding/binary"
	"errors"
	"slices"
)

// What members tell each other through the coordinator, in the layout of Kafka's
// own consumers (ConsumerProtocolSubscription and ConsumerProtocolAssignment).

var errGroupText = errors.New("kafka: malformed text of a group member")

// groupMember is a member as the leader of its group sees it.
type groupMember struct {
	id string
	// name is what members are ordered by: the instance of a static one.
	name   string
	topics []string
	// owned is what it has, as of a generation.
	owned      []place
	generation int32
	// round makes each joining differ from the one before it. A coordinator takes
	// one that says nothing new for the same membership, under which a position
	// that was on its way when the member lost all could still arrive.
	round uint32
}

// subscriptionVersion has the generation, which tells apart who had a partition
// last.
const subscriptionVersion = 2

// encodeSubscription is what a member says of itself when it joins.
func encodeSubscription(m groupMember) []byte {
	b := binary.BigEndian.AppendUint16(nil, subscriptionVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.topics)))
	for _, t := range m.topics {
		b = appendString(b, t)
	}
	// Java's consumers before 3.4 look for the generation here.
	b = binary.BigEndian.AppendUint32(b, 8)
	b = binary.BigEndian.AppendUint32(b, uint32(m.generation))
	b = binary.BigEndian.AppendUint32(b, m.round)
	b = appendPlaces(b, m.owned)
	return binary.BigEndian.AppendUint32(b, uint32(m.generation))
}

// decodeSubscription reads what a member of any version and maker says.
func decodeSubscription(data []byte) (groupMember, error) {
	r := textReader{rest: data}
	m := groupMember{generation: noGeneration}
	version := r.int16()
	for range r.count(2) {
		m.topics = append(m.topics, r.string())
	}
	r.bytes() // of the assignor's own
	if version >= 1 {
		m.owned = r.places()
	}
	if version >= 2 {
		m.generation = r.int32()
	}
	if r.bad {
		return groupMember{}, errGroupText
	}
	slices.Sort(m.topics)
	return m, nil
}

func encodeAssignment(places []place) []byte {
	b := binary.BigEndian.AppendUint16(nil, 0)
	b = appendPlaces(b, places)
	return binary.BigEndian.AppendUint32(b, 0xffffffff) // nothing of the assignor's own
}

// decodeAssignment reads what the leader gives a member; nothing at all is an
// assignment of nothing.
func decodeAssignment(data []byte) ([]place, error) {
	if len(data) == 0 {
		return nil, nil
	}
	r := textReader{rest: data}
	r.int16()
	places := r.places()
	if r.bad {
		return nil, errGroupText
	}
	return places, nil
}

// appendPlaces appends partitions by topic.
func appendPlaces(b []byte, places []place) []byte {
	places = slices.SortedFunc(slices.Values(places), comparePlaces)
	count := len(b)
	b = binary.BigEndian.AppendUint32(b, 0)
	topics := uint32(0)
	for len(places) > 0 {
		topic, n := places[0].topic, 0
		for n < len(places) && places[n].topic == topic {
			n++
		}
		b = appendString(b, topic)
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		for _, p := range places[:n] {
			b = binary.BigEndian.AppendUint32(b, uint32(p.partition))
		}
		places = places[n:]
		topics++
	}
	binary.BigEndian.PutUint32(b[count:], topics)
	return b
}

// textReader reads what may be anything. Once it is bad, it returns zero values.
type textReader struct {
	rest []byte
	bad  bool
}

func (r *textReader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *textReader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *textReader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *textReader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *textReader) string() string { return string(r.take(int(r.int16()))) }

// bytes reads bytes behind their length, -1 of which is none.
func (r *textReader) bytes() []byte {
	n := r.int32()
	if n == -1 {
		return nil
	}
	return r.take(int(n))
}

// count reads how many things of that least size follow.
func (r *textReader) count(least int) int {
	n := int(r.int32())
	if n < 0 || n > len(r.rest)/least {
		r.bad = r.bad || n != -1
		return 0
	}
	return n
}

func (r *textReader) places() []place {
	var places []place
	for range r.count(6) {
		topic := r.string()
		for range r.count(4) {
			places = append(places, place{topic, r.int32()})
		}
	}
	return places
}

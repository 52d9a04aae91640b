package nats

import "github.com/nats-io/nats.go"

// The server pins a member only with a message that it delivers to it. So that an
// idle partition has an owner too, who answers what its keys are asked, a member
// that stands by at one without an owner publishes a message to it that is for
// nobody: it has a header of its own and no payload, every member drops it, and
// the server after a second.
const (
	wakeHeader = "troupe-wake" // its value is the group
	wakeTTL    = "1s"          // the shortest there is
	// mostWakes is how often a feed tries: a stream that others made may forbid
	// it, and its partition then has no owner before its next message.
	mostWakes = 3
)

// wake has the server pin a member.
func (f *feed) wake() {
	if f.wakes == mostWakes || f.lane.mapped {
		return
	}
	f.wakes++
	m := nats.NewMsg(f.lane.filters[0])
	m.Header[wakeHeader] = []string{token(f.lane.sub.cfg.Group)}
	m.Header[ttlHeader] = []string{wakeTTL}
	_ = f.nc.PublishMsg(m) // it fails only without a connection, after which this is tried again
}

// wakes says whether a message is such a one.
func wakes(m *nats.Msg) bool {
	if len(m.Data) > 0 {
		return false
	}
	_, is := m.Header[wakeHeader]
	return is
}

package kafka

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// latestHeartbeat is the version of heartbeats that are sent, or an earlier one if
// the node knows no later. Later ones are laid out differently.
const latestHeartbeat = 3

// heartbeat tells the node that coordinates a group that a member lives, and
// returns what the coordinator says of that. It is written by hand, since kafka-go
// 0.4.51 reads the error of an answer from where the throttle time is, and so
// never sees one.
func (c *client) heartbeat(ctx context.Context, node int32, group string, who identity, patience time.Duration) error {
	x, err := c.borrow(ctx, node)
	if err != nil {
		return err
	}
	defer c.giveBack(node, x)
	version, err := x.version(protocol.Heartbeat)
	if err != nil {
		return err
	}
	version = min(version, latestHeartbeat)
	frame, err := x.exchange(ctx, heartbeatFrame(x.clientID, version, group, who), patience)
	if err != nil {
		return err
	}
	r := textReader{rest: frame}
	r.take(8) // size and correlation id
	if version >= 1 {
		r.int32() // throttled
	}
	code := r.int16()
	if r.bad {
		return errGroupText
	}
	return codeError(code)
}

func heartbeatFrame(clientID string, version int16, group string, who identity) []byte {
	b := []byte{0, 0, 0, 0} // size
	b = binary.BigEndian.AppendUint16(b, uint16(protocol.Heartbeat))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 0) // correlation id
	b = appendString(b, clientID)
	b = appendString(b, group)
	b = binary.BigEndian.AppendUint32(b, uint32(who.generation))
	b = appendString(b, who.member)
	switch {
	case version < 3:
	case who.instance == "":
		b = append(b, 0xff, 0xff)
	default:
		b = appendString(b, who.instance)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

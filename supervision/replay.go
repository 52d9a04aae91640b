package supervision

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/troupe-go/troupe/brokers"
)

const (
	// replayMark stands between a message's ID and how often it was replayed.
	replayMark = "~replay-"
	// maxID is the longest message id that every broker carries (AMQP's short
	// string).
	maxID = 255
)

// Replay returns the original of a dead letter, ready to be published: all of
// the envelope is gone, and headers, key and payload are what they were. Its
// Topic is where it lay, and its Partition too, for brokers.Explicit.
//
// A broker that deduplicates would swallow a message of an ID that it has just
// seen, so the replay's ID is the original's with `~replay-1` behind it, with
// `~replay-2` the next time, and so on: replaying one dead letter twice yields
// one ID. [OriginalID] takes it off again, for whoever must recognise the
// message. A message without an ID stays without; an ID that would grow over
// 255 bytes stays as it was.
//
// Time is the original's. Where the topic keeps messages by age and the message
// may be older, set it to zero, and the broker will stamp it.
//
// The errors are Decode's. A caller that guards against loops asks
// [Letter].Replays.
func Replay(m *brokers.Message) (brokers.Message, error) {
	original, l, err := Decode(m)
	if err != nil {
		return brokers.Message{}, err
	}
	if id := joinID(OriginalID(original.ID), l.Replays+1); original.ID != "" && len(id) <= maxID {
		original.ID = id
	}
	original.Offset = 0
	return original, nil
}

// OriginalID is the ID that a message had before it was ever replayed: what an
// inbox, or a handler that passes the ID on as an idempotency key, should use.
func OriginalID(id string) string {
	original, _ := splitID(id)
	return original
}

// splitID undoes joinID.
func splitID(id string) (original string, replays int) {
	i := strings.LastIndex(id, replayMark)
	if i < 0 {
		return id, 0
	}
	n, err := strconv.ParseInt(id[i+len(replayMark):], 10, 32)
	if err != nil || joinID(id[:i], int(n)) != id {
		return id, 0 // somebody else's ID, which only looks like ours
	}
	return id[:i], int(n)
}

func joinID(original string, replays int) string {
	if replays <= 0 {
		return original
	}
	return original + replayMark + strconv.Itoa(replays)
}

// letterID is the ID of the dead letter of m for a group. It is a hash so that
// it has one length, whatever it is made of.
func letterID(m *brokers.Message, group string) string {
	if m.ID == "" {
		return ""
	}
	var b []byte
	for _, part := range []string{group, m.Topic, m.ID} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = binary.AppendVarint(b, int64(m.Partition))
	sum := sha256.Sum256(b)
	return "dlq:" + hex.EncodeToString(sum[:16])
}

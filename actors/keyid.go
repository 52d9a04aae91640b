package actors

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/asynkron/protoactor-go/actor"
)

// address is where the keys of a group and topic live: no address of a network,
// and the same in every process.
func address(group, topic string) string {
	return "keys:" + url.PathEscape(group) + "/" + url.PathEscape(topic)
}

// keyID is the id of a key's PID: the key itself where it is valid UTF-8 and
// does not begin with "~", else "~" and base64url.
func keyID(key []byte) string {
	if utf8.Valid(key) && (len(key) == 0 || key[0] != '~') {
		return string(key)
	}
	return "~" + base64.RawURLEncoding.EncodeToString(key)
}

// laneID is the id of the PID of a partition's lane, which no key has.
func laneID(partition int32) string { return "~~" + strconv.Itoa(int(partition)) }

// target is what the id of a PID stands for: a key, or a partition's lane.
type target struct {
	key       []byte
	lane      bool
	partition int32
}

// parseID is the reverse of keyID and laneID. It takes nothing else.
func parseID(id string) (target, error) {
	if number, ok := strings.CutPrefix(id, "~~"); ok {
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || laneID(int32(n)) != id {
			return target{}, badID(id)
		}
		return target{lane: true, partition: int32(n)}, nil
	}
	coded, ok := strings.CutPrefix(id, "~")
	if !ok {
		return target{key: []byte(id)}, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(coded)
	if err != nil || keyID(key) != id {
		return target{}, badID(id)
	}
	return target{key: key}, nil
}

func badID(id string) error { return fmt.Errorf("%w: id %q is of no key", ErrNotOwned, id) }

// pid is the PID of a cell; nil if nobody can find it.
func (r *region) pid(c *cell) *actor.PID {
	at := address(r.sub.cfg.Group, r.part.Topic())
	switch c.kind {
	case cellKeyed:
		return actor.NewPID(at, keyID([]byte(c.key)))
	case cellLane:
		return actor.NewPID(at, laneID(r.part.ID()))
	}
	return nil
}

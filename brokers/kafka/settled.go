package kafka

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/troupe-go/troupe/brokers/internal/offsets"
)

const (
	// settledMark is what metadata of ours begin with, in their only layout so far.
	settledMark = "troupe/1 "
	// maxSettledText keeps below the 4096 bytes that clusters take by default.
	maxSettledText = 3 << 10
	// maxSettledSpan bounds how far above the position settled offsets are kept, as
	// a bitmap of 1 MiB.
	maxSettledSpan = 8 << 20
)

// memo is what goes as metadata with a group's position.
type memo struct {
	// partitions is how many the topic had when the group first chose where to
	// begin: of a group that began with the latest message, partitions that came
	// later are read from their beginning. 0 if the topic did not exist.
	partitions int
	// settled are offsets above the position that need not be delivered again.
	settled offsets.Set
}

// text writes a memo for a position. Of many settled stretches the highest are
// left out, which costs repeats only.
func (m *memo) text(position int64) string {
	text := fmt.Sprintf("%s%d ", settledMark, m.partitions)
	return text + base64.RawStdEncoding.EncodeToString(m.stretches(position, base64.RawStdEncoding.DecodedLen(maxSettledText-len(text))))
}

// stretches are the settled ones, each as how many offsets lie before it and how
// many it has, in at most that many bytes.
func (m *memo) stretches(position int64, most int) []byte {
	var b []byte
	end := position // of the stretch before
	first, last := int64(-1), int64(-1)
	flush := func() bool {
		if first < 0 {
			return true
		}
		next := binary.AppendUvarint(b, uint64(first-end))
		next = binary.AppendUvarint(next, uint64(last+1-first))
		if len(next) > most {
			return false
		}
		b, end = next, last+1
		return true
	}
	for o := range m.settled.All() {
		switch {
		case o < position:
		case first >= 0 && o == last+1:
			last = o
		case !flush():
			return b
		default:
			first, last = o, o
		}
	}
	flush()
	return b
}

// readMemo reads the metadata of a position; ok is false if they are another
// program's.
func readMemo(text string, position int64) (m memo, ok bool) {
	rest, ok := strings.CutPrefix(text, settledMark)
	if !ok {
		return memo{}, false
	}
	count, stretches, _ := strings.Cut(rest, " ")
	if _, err := fmt.Sscanf(count, "%d", &m.partitions); err != nil {
		return memo{}, false
	}
	b, err := base64.RawStdEncoding.DecodeString(stretches)
	if err != nil {
		return memo{}, false
	}
	m.settled.Cut(position)
	for o := position; len(b) > 0; {
		before, n := binary.Uvarint(b)
		length, k := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || k <= 0 || before > maxSettledSpan || length > maxSettledSpan || o-position > maxSettledSpan {
			return memo{}, false
		}
		b = b[n+k:]
		o += int64(before)
		for end := o + int64(length); o < end; o++ {
			m.settled.Add(o)
		}
	}
	return m, true
}

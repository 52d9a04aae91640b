package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

const (
	attributeCompression   = 7
	attributeLogAppendTime = 1 << 3
	attributeControl       = 1 << 5

	// minBatch is what a batch of any format has at least: a head up to its magic.
	minBatch = batchMagicAt + 1
)

var (
	errBatch    = errors.New("kafka: malformed batch")
	errChecksum = errors.New("kafka: wrong checksum of a batch")
	errInflated = errors.New("kafka: batch too large when inflated: raise Config.MaxInflatedBytes")
)

// abortedTransaction says that what a producer published in a transaction from an
// offset on was taken back.
type abortedTransaction struct {
	producer, first int64
}

// segment is what one fetch brought of a partition.
type segment struct {
	data    []byte // batches; the last may be cut short
	aborted []abortedTransaction
	records int // at most
}

// decoder turns the segments of a partition into messages, from an offset on. It
// passes what is none: control records, what aborted transactions published, and
// offsets that are no more.
type decoder struct {
	topic       string
	partition   int32
	epoch       uint64
	committed   bool // leaves out what was aborted
	maxInflated int

	next     int64          // what is below was read
	segment  segment        // records are those of batches that were not begun
	aborting map[int64]bool // producers whose transactions here are aborted ones

	// Of the batch that is read.
	records  []byte
	left     int
	base     int64
	end      int64 // the offset after its last
	baseTime int64
	setTime  int64 // of all its records, if the cluster set it; else -1
	shared   *Record
	old      []oldMessage // of a batch of an old format, instead of records
}

// more says whether the segment may have more messages.
func (d *decoder) more() bool { return d.left > 0 || len(d.old) > 0 || len(d.segment.data) > 0 }

// atHand estimates how many messages the segment has yet.
func (d *decoder) atHand() int { return d.left + len(d.old) + max(d.segment.records, 0) }

// load has the decoder read a segment next.
func (d *decoder) load(s segment) {
	d.segment = s
	clear(d.aborting)
}

// drop forgets what was not read.
func (d *decoder) drop() {
	d.segment, d.records, d.left, d.old = segment{}, nil, 0, nil
}

// read reads the next message of the segment into m; false at its end. After an
// error the decoder has dropped the rest, and its next offset says where the
// fault is.
func (d *decoder) read(m *brokers.Message) (bool, error) {
	for {
		switch {
		case len(d.old) > 0:
			if d.readOld(m) {
				return true, nil
			}
		case d.left > 0:
			ok, err := d.readRecord(m)
			if err != nil {
				return false, d.fault(err)
			}
			if ok {
				return true, nil
			}
		case len(d.segment.data) == 0:
			return false, nil
		default:
			if err := d.nextBatch(); err != nil {
				return false, d.fault(err)
			}
		}
	}
}

func (d *decoder) fault(err error) error {
	d.drop()
	return fmt.Errorf("partition %d of topic %q from offset %d on: %w", d.partition, d.topic, d.next, err)
}

// readRecord reads a record of the batch; false if it was read before.
func (d *decoder) readRecord(m *brokers.Message) (bool, error) {
	r, rest, err := readRecord(d.records, m)
	if err != nil {
		return false, err
	}
	d.records = rest
	d.left--
	offset := d.base + r.offsetDelta
	fresh := offset >= d.next && offset < d.end
	if fresh {
		d.next = offset + 1
		at := d.setTime
		if at < 0 {
			at = d.baseTime + r.timeDelta
		}
		d.describe(m, offset, at)
	} else {
		*m = brokers.Message{} // the next one may lack what this one has
	}
	if d.left == 0 {
		d.records, d.next = nil, max(d.next, d.end)
	}
	return fresh, nil
}

// describe sets what a message has from its place.
func (d *decoder) describe(m *brokers.Message, offset, milliseconds int64) {
	m.Topic, m.Partition, m.Epoch, m.Offset, m.Broker = d.topic, d.partition, d.epoch, offset, d.shared
	if milliseconds >= 0 {
		m.Time = time.UnixMilli(milliseconds)
	}
}

// nextBatch begins the next batch of the segment.
func (d *decoder) nextBatch() error {
	data := d.segment.data
	if len(data) < minBatch {
		d.segment.data = nil // cut short
		return nil
	}
	size := batchLengthAt + 4 + int(int32(binary.BigEndian.Uint32(data[batchLengthAt:])))
	if size < minBatch {
		return errBatch
	}
	if size > len(data) {
		d.segment.data = nil // the rest is in the next segment
		return nil
	}
	d.segment.data = data[size:]
	if data[batchMagicAt] < 2 {
		d.segment.records--
		return d.beginOld(data[:size])
	}
	if data[batchMagicAt] > 2 {
		return fmt.Errorf("%w: its format is %d, of which this driver knows nothing", errBatch, data[batchMagicAt])
	}
	return d.begin(data[:size])
}

// begin begins a batch of format 2.
func (d *decoder) begin(batch []byte) error {
	if len(batch) < batchHeadSize {
		return errBatch
	}
	get := binary.BigEndian
	count := int(int32(get.Uint32(batch[batchCountAt:])))
	d.segment.records -= max(count, 0)
	base := int64(get.Uint64(batch))
	end := base + int64(int32(get.Uint32(batch[batchLastOffsetAt:]))) + 1
	if end <= d.next {
		return nil // read before
	}
	if crc32.Checksum(batch[batchAttributesAt:], castagnoli) != get.Uint32(batch[batchCRCAt:]) {
		return errChecksum
	}
	attributes := get.Uint16(batch[batchAttributesAt:])
	producer := int64(get.Uint64(batch[batchProducerAt:]))
	d.noteAborted(end)
	switch {
	case attributes&attributeControl != 0:
		if attributes&attributeTransactional != 0 {
			delete(d.aborting, producer)
		}
		d.next = end
		return nil
	case attributes&attributeTransactional != 0 && d.committed && d.aborting[producer]:
		d.next = end
		return nil
	}
	records, err := inflate(Compression(attributes&attributeCompression), batch[batchHeadSize:], d.maxInflated)
	if err != nil {
		return err
	}
	if count < 0 || count > len(records) {
		return errBatch
	}
	d.records, d.left, d.base, d.end = records, count, base, end
	d.baseTime, d.setTime = int64(get.Uint64(batch[batchBaseTimeAt:])), -1
	if attributes&attributeLogAppendTime != 0 {
		d.setTime = int64(get.Uint64(batch[batchMaxTimeAt:]))
	}
	d.shared = &Record{
		LeaderEpoch:   int32(get.Uint32(batch[batchLeaderEpochAt:])),
		ProducerID:    producer,
		ProducerEpoch: int16(get.Uint16(batch[batchEpochAt:])),
		Transactional: attributes&attributeTransactional != 0,
		LogAppendTime: attributes&attributeLogAppendTime != 0,
	}
	if count == 0 {
		d.next = end // compaction left nothing of it
	}
	return nil
}

// noteAborted notes the aborted transactions that begin below an offset. Each ends
// with its control record, after which its producer may have others.
func (d *decoder) noteAborted(end int64) {
	for len(d.segment.aborted) > 0 && d.segment.aborted[0].first < end {
		if d.aborting == nil {
			d.aborting = map[int64]bool{}
		}
		d.aborting[d.segment.aborted[0].producer] = true
		d.segment.aborted = d.segment.aborted[1:]
	}
}

// idLength is how long the id is that a message gets which has none.
func idLength(m *brokers.Message) int {
	if m.ID != "" {
		return 0
	}
	digits := 2
	for rest := m.Offset; rest > 9; rest /= 10 {
		digits++
	}
	for rest := m.Partition; rest > 9; rest /= 10 {
		digits++
	}
	return len(m.Topic) + digits + len("//")
}

// identify gives messages that have no id their place as one: see the table in
// the package comment of brokers. It makes all of them out of one text.
func identify(msgs []brokers.Message) {
	first := 0
	for first < len(msgs) && msgs[first].ID != "" {
		first++
	}
	if first == len(msgs) {
		return
	}
	prefix := msgs[0].Topic + "/" + strconv.Itoa(int(msgs[0].Partition)) + "/"
	const digits = 20
	var text strings.Builder
	text.Grow((len(msgs) - first) * (len(prefix) + digits))
	var number [digits]byte
	for i := first; i < len(msgs); i++ {
		if msgs[i].ID != "" {
			continue
		}
		begin := text.Len()
		text.WriteString(prefix)
		text.Write(strconv.AppendInt(number[:0], msgs[i].Offset, 10))
		msgs[i].ID = text.String()[begin:]
	}
}

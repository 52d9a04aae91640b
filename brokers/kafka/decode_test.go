package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// batchOf is a batch as the cluster stores it.
func batchOf(t testing.TB, base int64, head batchHead, c Compression, payloads ...string) []byte {
	t.Helper()
	e := encoder{compression: c}
	msgs := make([]brokers.Message, len(payloads))
	for i := range msgs {
		msgs[i].Payload = []byte(payloads[i])
	}
	b, err := e.appendBatch(nil, head, len(msgs), func(i int) *brokers.Message { return &msgs[i] }, time.UnixMilli(1000))
	if err != nil {
		t.Fatal(err)
	}
	if used := Compression(b[batchAttributesAt+1] & attributeCompression); used != c {
		t.Fatalf("compression %d of %q; want %d", used, payloads, c)
	}
	binary.BigEndian.PutUint64(b, uint64(base))
	return b
}

// control is the record that ends a transaction.
func control(t testing.TB, base int64, producerID int64, commit bool) []byte {
	t.Helper()
	b := batchOf(t, base, batchHead{producer: producer{producerID, 0}, sequence: -1, transactional: true}, CompressNone, fmt.Sprint(commit))
	b[batchAttributesAt+1] |= attributeControl
	return seal(b)
}

func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttributesAt:], castagnoli))
	return b
}

// decodeAll reads a segment from an offset on, as "offset:payload".
func decodeAll(d *decoder, s segment) (got []string, err error) {
	d.load(s)
	for {
		var m brokers.Message
		ok, err := d.read(&m)
		if !ok || err != nil {
			return got, err
		}
		got = append(got, fmt.Sprintf("%d:%s", m.Offset, m.Payload))
	}
}

func TestDecode(t *testing.T) {
	long := strings.Repeat("worth compressing, ", 20)
	plain := batchHead{producer: noProducer, sequence: -1}
	by := func(id int64) batchHead {
		return batchHead{producer: producer{id, 0}, sequence: 0, transactional: true}
	}
	empty := seal(func() []byte {
		b := batchOf(t, 20, plain, CompressNone, "x")[:batchHeadSize]
		binary.BigEndian.PutUint32(b[batchLengthAt:], batchHeadSize-batchLeaderEpochAt)
		binary.BigEndian.PutUint32(b[batchCountAt:], 0)
		binary.BigEndian.PutUint32(b[batchLastOffsetAt:], 4)
		return b
	}())
	whole := batchOf(t, 30, plain, CompressNone, "a", "b")
	for _, c := range []struct {
		name        string
		from        int64
		uncommitted bool
		data        [][]byte
		aborted     []abortedTransaction
		want        []string
		next        int64
	}{
		{name: "in the midst of a batch", from: 11, data: [][]byte{batchOf(t, 10, plain, CompressNone, "a", "b", "c")}, want: []string{"11:b", "12:c"}, next: 13},
		{name: "offsets that are no more", from: 5, data: [][]byte{batchOf(t, 10, plain, CompressGzip, long), batchOf(t, 15, plain, CompressZstd, long)}, want: []string{"10:" + long, "15:" + long}, next: 16},
		{name: "a batch that compaction emptied", from: 20, data: [][]byte{empty}, next: 25},
		{name: "cut short", from: 30, data: [][]byte{whole, whole[:40]}, want: []string{"30:a", "31:b"}, next: 32},
		{name: "read before", from: 32, data: [][]byte{whole}, next: 32},
		{
			name: "one of two transactions is aborted", from: 0, data: [][]byte{
				batchOf(t, 0, by(1), CompressNone, "no"), batchOf(t, 1, by(2), CompressNone, "yes"),
				control(t, 2, 1, false), batchOf(t, 3, by(1), CompressLZ4, long), control(t, 4, 2, true),
			},
			aborted: []abortedTransaction{{1, 0}}, want: []string{"1:yes", "3:" + long}, next: 5,
		},
		{
			name: "aborted, and asked for", uncommitted: true, data: [][]byte{batchOf(t, 0, by(1), CompressSnappy, long), control(t, 1, 1, false)},
			aborted: []abortedTransaction{{1, 0}}, want: []string{"0:" + long}, next: 2,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &decoder{next: c.from, committed: !c.uncommitted, maxInflated: 1 << 20}
			s := segment{data: slices.Concat(c.data...), aborted: c.aborted}
			got, err := decodeAll(d, s)
			if err != nil || !slices.Equal(got, c.want) || d.next != c.next {
				t.Errorf("got %v, next %d, %v; want %v, next %d", got, d.next, err, c.want, c.next)
			}
		})
	}
}

func TestDecodeFaults(t *testing.T) {
	good := batchOf(t, 0, batchHead{producer: noProducer, sequence: -1}, CompressNone, "a")
	flipped := batchOf(t, 1, batchHead{producer: noProducer, sequence: -1}, CompressNone, "b")
	flipped[len(flipped)-1] ^= 1
	bomb := batchOf(t, 1, batchHead{producer: noProducer, sequence: -1}, CompressGzip, string(make([]byte, 1<<20)))
	future := batchOf(t, 1, batchHead{producer: noProducer, sequence: -1}, CompressNone, "b")
	future[batchMagicAt] = 3
	for _, c := range []struct {
		name string
		bad  []byte
		want error
	}{{"checksum", flipped, errChecksum}, {"inflates too far", bomb, errInflated}, {"format", future, errBatch}} {
		t.Run(c.name, func(t *testing.T) {
			d := &decoder{topic: "t", partition: 3, maxInflated: 1 << 19}
			got, err := decodeAll(d, segment{data: slices.Concat(good, c.bad)})
			if !errors.Is(err, c.want) || len(got) != 1 || d.next != 1 || d.more() {
				t.Errorf("got %v, next %d, %v; want the first, and %v", got, d.next, err, c.want)
			}
		})
	}
}

// Decoding allocates for a batch, and not for its records.
func TestDecodeAllocates(t *testing.T) {
	const n = 1000
	msgs := make([]brokers.Message, n)
	for i := range msgs {
		msgs[i] = brokers.Message{Key: []byte("key"), Payload: manyBytes}
	}
	for c := CompressNone; c <= CompressZstd; c++ {
		e := encoder{compression: c}
		b, err := e.appendBatch(nil, batchHead{producer: noProducer, sequence: -1}, n, func(i int) *brokers.Message { return &msgs[i] }, time.UnixMilli(1))
		if err != nil {
			t.Fatal(err)
		}
		d := &decoder{maxInflated: 1 << 30}
		var m brokers.Message
		read := 0
		all := func() {
			d.next = 0
			d.load(segment{data: b, records: n})
			for more := true; more; read++ {
				if more, err = d.read(&m); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := testing.AllocsPerRun(10, all) / n; got > 0.1 {
			t.Errorf("compression %d: %.3f allocations for a record", c, got)
		}
		if runs := 11; read != runs*(n+1) {
			t.Errorf("compression %d: %d reads; want %d", c, read, runs*(n+1))
		}
	}
}

// What comes may be anything, and is never a panic.
func TestDecodeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := encoder{compression: Compression(rapid.IntRange(0, int(CompressZstd)).Draw(t, "compression"))}
		m := brokers.Message{Payload: manyBytes, Key: []byte("key")} // so that it is compressed
		b, err := e.appendBatch(nil, batchHead{producer: noProducer, sequence: -1}, 3, func(int) *brokers.Message { return &m }, time.UnixMilli(1))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "change"))
		}
		if rapid.Bool().Draw(t, "sealed") {
			seal(b)
		}
		s := segment{data: b}
		s.scan(0)
		_, _ = decodeAll(&decoder{maxInflated: 1 << 16}, s)
	})
}

// What was read before, and what an earlier owner has settled, leaves nothing of
// itself in the message behind it.
func TestPassedOverRecordsLeaveNothing(t *testing.T) {
	full := brokers.Message{
		ID: "id", CorrelationID: "c", ReplyTo: "r", ContentType: "t", Key: []byte("k"), Payload: []byte("p"),
		Headers: brokers.Headers{{Key: "h", Value: []byte("v")}},
	}
	e := encoder{}
	all := []brokers.Message{full, {Payload: []byte("b")}, full, {Payload: []byte("d")}}
	b, err := e.appendBatch(nil, batchHead{producer: noProducer, sequence: -1}, len(all), func(i int) *brokers.Message { return &all[i] }, time.UnixMilli(1000))
	if err != nil {
		t.Fatal(err)
	}
	s := segment{data: b}
	s.scan(0)
	f := feed{place: place{topic: "t"}, decoder: decoder{topic: "t", next: 1}}
	f.spared.Add(2)
	f.decoder.load(s)
	got := f.take(brokers.FetchLimit{Messages: 10})
	if len(got) != 2 || got[0].Offset != 1 || got[1].Offset != 3 {
		t.Fatalf("got %+v", got)
	}
	for _, m := range got {
		if want := fmt.Sprint("t/0/", m.Offset); m.ID != want || m.CorrelationID+m.ReplyTo+m.ContentType != "" || m.Key != nil || m.Headers != nil {
			t.Errorf("want only the id %s: %+v", want, m)
		}
	}
}

// A segment of many small batches is taken into room that was made once.
func TestRoomForManyBatches(t *testing.T) {
	var s segment
	for i := range 20 {
		s.data = append(s.data, batchOf(t, int64(3*i), batchHead{producer: noProducer, sequence: -1}, CompressNone, "a", "b", "c")...)
	}
	s.scan(0)
	f := feed{place: place{topic: "t"}, decoder: decoder{topic: "t"}}
	f.decoder.load(s)
	first := f.take(brokers.FetchLimit{Messages: 50})
	if len(first) != 50 || cap(first) != 50 {
		t.Errorf("%d messages in room for %d", len(first), cap(first))
	}
	if rest := f.take(brokers.FetchLimit{Messages: 50}); len(rest) != 10 || cap(rest) != 10 {
		t.Errorf("%d messages in room for %d", len(rest), cap(rest))
	}
}

// Ids are made of places where a record has none.
func TestIdentify(t *testing.T) {
	msgs := []brokers.Message{{ID: "own", Topic: "t", Partition: 12, Offset: 9}, {Topic: "t", Partition: 12, Offset: 10}, {Topic: "t", Partition: 12, Offset: 123456}}
	lengths := []int{0, len("t/12/10"), len("t/12/123456")}
	for i := range msgs {
		if got := idLength(&msgs[i]); got != lengths[i] {
			t.Errorf("idLength of %d: %d; want %d", msgs[i].Offset, got, lengths[i])
		}
	}
	identify(msgs)
	if msgs[0].ID != "own" || msgs[1].ID != "t/12/10" || msgs[2].ID != "t/12/123456" {
		t.Errorf("ids %q, %q, %q", msgs[0].ID, msgs[1].ID, msgs[2].ID)
	}
}

// oldBytes are messages of formats 0 and 1, laid out as the protocol guide has it.
func oldBytes(offset int64, magic, attributes byte, at int64, key, value []byte) []byte {
	put := binary.BigEndian
	body := []byte{magic, attributes}
	if magic == 1 {
		body = put.AppendUint64(body, uint64(at))
	}
	for _, v := range [][]byte{key, value} {
		if v == nil {
			body = put.AppendUint32(body, 0xffffffff)
			continue
		}
		body = append(put.AppendUint32(body, uint32(len(v))), v...)
	}
	b := put.AppendUint64(nil, uint64(offset))
	b = put.AppendUint32(b, uint32(len(body)+4))
	return append(put.AppendUint32(b, crc32.ChecksumIEEE(body)), body...)
}

func TestDecodeOldFormats(t *testing.T) {
	long := strings.Repeat("b", 100)
	inner := slices.Concat(oldBytes(0, 1, 0, 5, []byte("k"), []byte("a")), oldBytes(1, 1, 0, 6, nil, []byte(long)))
	e := encoder{compression: CompressGzip}
	wrapped, used, err := e.compress(nil, inner)
	if err != nil || used != CompressGzip {
		t.Fatal(used, err)
	}
	data := slices.Concat(oldBytes(7, 0, 0, 0, nil, []byte("zero")), oldBytes(9, 1, byte(CompressGzip), 6, nil, wrapped), oldBytes(10, 1, 0, 7, []byte(""), nil))
	d := &decoder{next: 7, maxInflated: 1 << 10}
	got, err := decodeAll(d, segment{data: data})
	if want := []string{"7:zero", "8:a", "9:" + long, "10:"}; err != nil || !slices.Equal(got, want) || d.next != 11 {
		t.Errorf("got %v, next %d, %v; want %v", got, d.next, err, want)
	}
	data[len(data)-1] ^= 1
	if _, err := decodeAll(&decoder{maxInflated: 1 << 10}, segment{data: data}); !errors.Is(err, errChecksum) {
		t.Errorf("with a wrong byte: %v; want %v", err, errChecksum)
	}
}

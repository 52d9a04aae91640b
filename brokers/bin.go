package brokers

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"slices"
	"strings"
)

// BinHeader is the native header for what [EncodeBin] returns.
const BinHeader = "troupe-bin"

// maxBinText is above what [Check] lets through: 1,024 headers with their
// lengths, and a key.
const maxBinText = (MaxHeaderBytes + MaxKeyBytes + 16*MaxHeaders) * 4 / 3

// The text is base64 of
//
//	version     1 byte
//	presence    1 byte: of key and payload, whether they are not nil
//	checksum    8 bytes, of the native headers
//	key         length (uvarint) and bytes
//	headers     count (uvarint), and of each
//	  kind      1 byte, plus binNil if the value is nil
//	  key       length and bytes
//	  value     length and bytes
const (
	binVersion = 1
	binKey     = 1 << 0
	binPayload = 1 << 1
	binNil     = 1 << 7
)

var errBin = errors.New("brokers: malformed " + BinHeader + " header")

// EncodeBin returns the value of the [BinHeader], for drivers, where a broker
// cannot carry m natively as it is. It holds m's headers, its key, and whether
// key and payload are nil, in characters that are legal everywhere.
//
// native are the headers that the driver sends natively, as it will get them
// back: without its own and without those that the broker adds on the way. Their
// order counts only among those of one key, and their kinds do not.
func EncodeBin(native []Header, m *Message) string {
	b := make([]byte, 0, 32+len(m.Key)+2*m.Headers.size())
	b = append(b, binVersion, presence(m.Key, binKey)|presence(m.Payload, binPayload))
	b = binary.BigEndian.AppendUint64(b, binChecksum(native))
	b = appendBinBytes(b, m.Key)
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	for i := range m.Headers {
		h := &m.Headers[i]
		b = append(b, byte(h.Kind)|binNil^presence(h.Value, binNil))
		b = appendBinBytes(b, h.Key)
		b = appendBinBytes(b, h.Value)
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

// presence is flag, if b is not nil.
func presence(b []byte, flag byte) byte {
	if b == nil {
		return 0
	}
	return flag
}

func appendBinBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// binChecksum is of what a broker can be relied on to keep.
func binChecksum(native []Header) uint64 {
	sorted := slices.Clone(native)
	slices.SortStableFunc(sorted, func(a, b Header) int { return strings.Compare(a.Key, b.Key) })
	sum := fnv.New64a()
	var length [binary.MaxVarintLen64]byte
	for i := range sorted {
		h := &sorted[i]
		_, _ = sum.Write(binary.AppendUvarint(length[:0], uint64(len(h.Key))))
		_, _ = io.WriteString(sum, h.Key)
		_, _ = sum.Write(binary.AppendUvarint(length[:0], uint64(len(h.Value))))
		_, _ = sum.Write(h.Value)
	}
	return sum.Sum64()
}

// DecodeBin completes a received message from the text of its [BinHeader].
// native are the headers that came natively, as in EncodeBin.
//
//   - m.Headers is set if native is what it was; ok says so. If somebody changed
//     the headers on the way, what is native wins, and m.Headers is left alone.
//   - m.Key is set if it is nil, as of a driver that did not find it natively.
//   - m.Payload becomes nil or empty, if it has no bytes.
//
// An error says that the text is not from EncodeBin. m is then unchanged. What
// is set shares no memory with text.
func DecodeBin(text string, native []Header, m *Message) (ok bool, err error) {
	r, err := openBin(text)
	if err != nil {
		return false, err
	}
	has, sum, key := r.byte(), r.uint64(), r.bytes()
	headers := r.headers()
	if r.bad || len(r.rest) > 0 {
		return false, errBin
	}
	if ok = sum == binChecksum(native); ok {
		m.Headers = headers
	}
	if m.Key == nil && has&binKey != 0 {
		m.Key = key
	}
	if len(m.Payload) == 0 {
		m.Payload = nil
		if has&binPayload != 0 {
			m.Payload = []byte{}
		}
	}
	return ok, nil
}

func openBin(text string) (*binReader, error) {
	if len(text) > maxBinText {
		return nil, errBin
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 || b[0] != binVersion {
		return nil, errBin
	}
	return &binReader{rest: b[1:]}, nil
}

// binReader reads what may be anything. Once it is bad, it returns zero values.
type binReader struct {
	rest []byte
	bad  bool
}

func (r *binReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *binReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// length reads a count of things that take at least size bytes each.
func (r *binReader) length(size int) int {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || v > uint64((len(r.rest)-n)/size) {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

// bytes is never nil, but of a bad reader.
func (r *binReader) bytes() []byte { return r.take(r.length(1)) }

func (r *binReader) take(n int) []byte {
	if r.bad || len(r.rest) < n {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// headers returns nil for none.
func (r *binReader) headers() Headers {
	n := r.length(3)
	if n == 0 {
		return nil
	}
	headers := make(Headers, n)
	for i := range headers {
		kind := r.byte()
		h := Header{Key: string(r.bytes()), Value: r.bytes(), Kind: Kind(kind &^ binNil)}
		if kind&binNil != 0 {
			r.bad = r.bad || len(h.Value) > 0
			h.Value = nil
		}
		r.bad = r.bad || h.Kind > KindTime
		headers[i] = h
	}
	return headers
}

package supervision

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/troupe-go/troupe/brokers"
)

// timeLayout is RFC 3339 of constant width, so that an envelope does not change
// its size with the clock.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// fields gathers header fields. The optional ones are left out when zero.
type fields struct{ headers brokers.Headers }

func (f *fields) add(key string, value []byte, kind brokers.Kind) {
	f.headers = append(f.headers, brokers.Header{Key: key, Value: value, Kind: kind})
}

// raw adds a string as it is, text or not.
func (f *fields) raw(key, value string) {
	switch {
	case value == "":
	case utf8.ValidString(value):
		f.add(key, []byte(value), brokers.KindString)
	default:
		f.add(key, []byte(value), brokers.KindBytes)
	}
}

// text adds a text on one line.
func (f *fields) text(key, value string) { f.raw(key, escaper.Replace(value)) }

// int adds a number, also 0.
func (f *fields) int(key string, value int64) {
	f.add(key, strconv.AppendInt(nil, value, 10), brokers.KindInt)
}

func (f *fields) optionalInt(key string, value int64) {
	if value != 0 {
		f.int(key, value)
	}
}

// time adds a time in UTC, of the years that RFC 3339 can hold.
func (f *fields) time(key string, t time.Time) {
	if t = t.UTC(); !t.IsZero() && t.Year() >= 0 && t.Year() <= 9999 {
		f.add(key, t.AppendFormat(nil, timeLayout), brokers.KindTime)
	}
}

func (f *fields) duration(key string, d time.Duration) {
	if d != 0 {
		f.raw(key, d.String())
	}
}

// reader reads what fields wrote, and keeps the first error. What is missing
// reads as zero.
type reader struct {
	headers brokers.Headers
	err     error
}

func (r *reader) raw(key string) string { return r.headers.Text(key) }

func (r *reader) text(key string) string { return unescaper.Replace(r.raw(key)) }

func (r *reader) int(key string, bits int) int64 {
	return parse(r, key, func(s string) (int64, error) { return strconv.ParseInt(s, 10, bits) })
}

func (r *reader) uint8(key string) uint8 {
	return uint8(parse(r, key, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 8) }))
}

func (r *reader) time(key string) time.Time {
	return parse(r, key, func(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) })
}

func (r *reader) duration(key string) time.Duration { return parse(r, key, time.ParseDuration) }

// require returns the first error; that a key is missing, if there is none.
func (r *reader) require(key string) error {
	if _, ok := r.headers.Get(key); !ok && r.err == nil {
		r.err = fmt.Errorf("%w: %s is missing", ErrMalformed, key)
	}
	return r.err
}

func parse[T any](r *reader, key string, convert func(string) (T, error)) (value T) {
	b, ok := r.headers.Get(key)
	if !ok {
		return value
	}
	value, err := convert(string(b))
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %s: %w", ErrMalformed, key, err)
	}
	return value
}

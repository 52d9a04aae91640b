package rabbitmq

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// Native header names. See the table in the comment of package brokers.
const (
	keyHeader  = "troupe-key"
	nilHeader  = "troupe-nil"
	timeHeader = "troupe-time"
)

// reserved says whether a name is the driver's or the server's. A user's header
// of such a name must not go out natively: CC and BCC are further routing keys,
// and an x-death would be a forged history.
func reserved(name string) bool {
	switch name {
	case "CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count":
		return true
	}
	return strings.HasPrefix(name, "troupe-") || strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
}

// native returns the table of the headers that AMQP can carry, as a receiver
// lists them: by name. exact says that these are all, as they are.
func native(hs brokers.Headers, table amqp.Table) (listed brokers.Headers, exact bool) {
	exact = true
	for i := range hs {
		h := &hs[i]
		if _, twice := table[h.Key]; twice || len(h.Key) > maxName || reserved(h.Key) {
			exact = false
			continue
		}
		v := toValue(h)
		back := fromValue(h.Key, v)
		exact = exact && back.Kind == h.Kind && string(back.Value) == string(h.Value) && (back.Value == nil) == (h.Value == nil)
		table[h.Key] = v
		listed = append(listed, back)
	}
	exact = exact && sorted(listed)
	sortByName(listed)
	return listed, exact
}

func sorted(hs brokers.Headers) bool {
	return slices.IsSortedFunc(hs, func(a, b brokers.Header) int { return strings.Compare(a.Key, b.Key) })
}

func sortByName(hs brokers.Headers) {
	slices.SortFunc(hs, func(a, b brokers.Header) int { return strings.Compare(a.Key, b.Key) })
}

// toValue is a header's value as AMQP has it. What does not read as its kind goes
// as bytes.
func toValue(h *brokers.Header) any {
	if h.Value == nil {
		return nil
	}
	text := string(h.Value)
	switch h.Kind {
	case brokers.KindString:
		if utf8.ValidString(text) {
			return text
		}
	case brokers.KindInt:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case brokers.KindFloat:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	case brokers.KindBool:
		if text == "true" || text == "false" {
			return text == "true"
		}
	case brokers.KindTime:
		// AMQP's have whole seconds; troupe-bin has the rest.
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil && t.Unix() >= 0 {
			return t.Truncate(time.Second)
		}
	case brokers.KindBytes:
	}
	return []byte(text)
}

// fromValue is the header that a value of AMQP is.
func fromValue(name string, v any) brokers.Header {
	h := brokers.Header{Key: name}
	switch v := v.(type) {
	case nil:
	case []byte:
		h.Value = append([]byte{}, v...)
	case string:
		h.Value, h.Kind = []byte(v), brokers.KindString
	case bool:
		h.Value, h.Kind = strconv.AppendBool(nil, v), brokers.KindBool
	case float32:
		h.Value, h.Kind = strconv.AppendFloat(nil, float64(v), 'g', -1, 32), brokers.KindFloat
	case float64:
		h.Value, h.Kind = strconv.AppendFloat(nil, v, 'g', -1, 64), brokers.KindFloat
	case time.Time:
		h.Value, h.Kind = v.UTC().AppendFormat(nil, time.RFC3339Nano), brokers.KindTime
	case int8, uint8, int16, uint16, int32, uint32, int, int64:
		h.Value, h.Kind = fmt.Append(nil, v), brokers.KindInt
	default: // a table, an array or a decimal
		text, err := json.Marshal(v)
		if err != nil {
			text = fmt.Append(nil, v) // such as a float in it that JSON does not have
		}
		h.Value = text
	}
	return h
}

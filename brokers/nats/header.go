package nats

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/troupe-go/troupe/brokers"
)

// Native header names. See the table in the package comment.
const (
	idHeader          = "Nats-Msg-Id"
	ttlHeader         = "Nats-TTL"
	pinHeader         = "Nats-Pin-Id"
	keyHeader         = "troupe-key"
	orderHeader       = "troupe-order"
	timeHeader        = "troupe-time"
	correlationHeader = "troupe-correlation-id"
	replyToHeader     = "troupe-reply-to"
	priorityHeader    = "troupe-priority"
	routingKeyHeader  = "troupe-routing-key"
	contentTypeHeader = "Content-Type"
)

// reserved says whether a name is the driver's or the server's. A user's header
// of such a name must not go out natively: Nats-Rollup would purge the subject.
func reserved(name string) bool {
	return hasPrefixFold(name, "nats-") || hasPrefixFold(name, "troupe-") || strings.EqualFold(name, contentTypeHeader) ||
		strings.EqualFold(name, "Status") || strings.EqualFold(name, "Description")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// plainName says whether NATS keeps a header name as it is.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return name != "" && !reserved(name)
}

// plainText says whether NATS keeps a header value as it is, and people can read
// it.
func plainText[T string | []byte](v T) bool {
	ascii := true
	for i := range len(v) {
		if v[i] < ' ' || v[i] == 0x7f {
			return false
		}
		ascii = ascii && v[i] < utf8.RuneSelf
	}
	return len(v) == 0 || v[0] != ' ' && v[len(v)-1] != ' ' && (ascii || utf8.ValidString(string(v)))
}

// native returns the headers that go out as they are, in the order in which a
// receiver lists them: by name, and of one name as they came. exact says that
// these are all, and that nothing about them gets lost but their order.
func native(hs brokers.Headers, into brokers.Headers) (out brokers.Headers, exact bool) {
	exact = true
	for i := range hs {
		h := &hs[i]
		if !plainName(h.Key) || !plainText(h.Value) {
			exact = false
			continue
		}
		exact = exact && h.Value != nil && h.Kind == brokers.KindBytes
		into = append(into, *h)
	}
	sortByName(into)
	return into, exact
}

func sortByName(hs brokers.Headers) {
	slices.SortStableFunc(hs, func(a, b brokers.Header) int { return strings.Compare(a.Key, b.Key) })
}

const orderDigits = "0123456789abcdefghijklmnopqrstuvwxyz"

// order returns, for each header of hs, its place in the list sorted by name: a
// digit each. It is empty where hs is so sorted; ok is false where digits run
// out.
func order(hs brokers.Headers) (text string, ok bool) {
	if slices.IsSortedFunc(hs, func(a, b brokers.Header) int { return strings.Compare(a.Key, b.Key) }) {
		return "", true
	}
	if len(hs) > len(orderDigits) {
		return "", false
	}
	var places [len(orderDigits)]byte
	for i := range hs {
		place := 0
		for j := range hs {
			if c := strings.Compare(hs[j].Key, hs[i].Key); c < 0 || c == 0 && j < i {
				place++
			}
		}
		places[i] = orderDigits[place]
	}
	return string(places[:len(hs)]), true
}

// reorder undoes the sorting of hs, in place. What is no order of hs, since the
// headers were changed on the way, is ignored.
func reorder(hs brokers.Headers, order string) {
	if len(order) != len(hs) {
		return
	}
	var used [len(orderDigits)]bool
	sorted := slices.Clone(hs)
	for i := range order {
		place := strings.IndexByte(orderDigits, order[i])
		if place < 0 || place >= len(hs) || used[place] {
			copy(hs, sorted)
			return
		}
		used[place] = true
		hs[i] = sorted[place]
	}
}

package brokertest_test

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

var messageMutations = []mutation{
	{name: "takes a nil payload for an empty one", test: "Message/Payloads", says: "payload: got \"\"; want nil", hooks: hooks{
		received: func(m *brokers.Message) { m.Payload = append([]byte{}, m.Payload...) },
	}},
	{name: "takes an empty payload for nil", test: "Message/Payloads", says: "payload: got nil; want \"\"", hooks: hooks{
		received: func(m *brokers.Message) { m.Payload = append([]byte(nil), m.Payload...) },
	}},
	{name: "takes no key for an empty one", test: "Message/Keys", says: "key: got \"\"; want nil", hooks: hooks{
		received: func(m *brokers.Message) { m.Key = append([]byte{}, m.Key...) },
	}},
	{name: "makes text of keys", test: "Message/Keys", says: "key: got", hooks: hooks{
		received: func(m *brokers.Message) {
			if m.Key != nil {
				m.Key = bytes.ToValidUTF8(m.Key, []byte("?"))
			}
		},
	}},
	{name: "keeps one header of a key", test: "Message/Headers", says: "headers: got", hooks: hooks{
		received: func(m *brokers.Message) {
			for i := 0; i < len(m.Headers); i++ {
				m.Headers = append(m.Headers[:i+1], slices.DeleteFunc(m.Headers[i+1:], func(h brokers.Header) bool { return h.Key == m.Headers[i].Key })...)
			}
		},
	}},
	{name: "sorts headers", test: "Message/Headers", says: "header 0: got", hooks: hooks{
		received: func(m *brokers.Message) {
			slices.SortStableFunc(m.Headers, func(a, b brokers.Header) int { return strings.Compare(a.Key, b.Key) })
		},
	}},
	{name: "trims header values", test: "Message/Headers", says: "got {\"spaces\": \"v\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Value = bytes.TrimSpace(h.Value) }),
	}},
	{name: "takes a nil header value for an empty one", test: "Message/Headers", says: "{\"nil\": \"\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Value = append([]byte{}, h.Value...) }),
	}},
	{name: "changes the case of header keys", test: "Message/Headers", says: "{\"upper-case\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Key = strings.ToLower(h.Key) }),
	}},
	{name: "forgets header kinds", test: "Message/HeaderKinds", says: "want {\"string\"", hooks: hooks{
		received: eachHeader(func(h *brokers.Header) { h.Kind = brokers.KindBytes }),
	}},
	{name: "drops ReplyTo", test: "Message/Fields", says: "ReplyTo: got \"\"", hooks: hooks{
		received: func(m *brokers.Message) { m.ReplyTo = "" },
	}},
	{name: "stamps its own time", test: "Message/Fields", says: "Time: got", hooks: hooks{
		received: func(m *brokers.Message) { m.Time = time.Now() },
	}},
	{name: "leaves the time out", test: "Message/TimeDefault", says: "want about now", hooks: hooks{
		received: func(m *brokers.Message) { m.Time = time.Time{} },
	}},
	{name: "gives all messages one ID", test: "Message/IDDefault", says: "want three", hooks: hooks{
		received: func(m *brokers.Message) { m.ID = "id" },
	}},
	{name: "ignores TTL", test: "Message/TTL", says: "want numbers 1 to 1", hooks: hooks{
		sent: func(m *brokers.Message) { m.TTL = 0 },
	}},
}

func eachHeader(f func(*brokers.Header)) func(*brokers.Message) {
	return func(m *brokers.Message) {
		for i := range m.Headers {
			f(&m.Headers[i])
		}
	}
}

package brokers

import (
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Message)
		cause  error
		field  string
	}{
		"good":             {change: func(*Message) {}},
		"priority":         {change: func(m *Message) { m.Priority = 9 }},
		"empty header key": {change: func(m *Message) { m.Headers = Headers{{}} }}, // Kafka knows such
		"no topic":         {func(m *Message) { m.Topic = "" }, ErrInvalid, "Message.Topic"},
		"negative TTL":     {func(m *Message) { m.TTL = -1 }, ErrInvalid, "Message.TTL"},
		"high priority":    {func(m *Message) { m.Priority = 10 }, ErrInvalid, "Message.Priority"},
		"unknown kind":     {func(m *Message) { m.Headers = Headers{{Kind: KindTime + 1}} }, ErrInvalid, "Message.Headers"},
		"long key":         {func(m *Message) { m.Key = make([]byte, MaxKeyBytes+1) }, ErrTooLarge, "Message.Key"},
		"many headers":     {func(m *Message) { m.Headers = make(Headers, MaxHeaders+1) }, ErrTooLarge, "Message.Headers"},
		"large headers": {
			func(m *Message) { m.Headers = Headers{{Key: "k", Value: make([]byte, MaxHeaderBytes)}} },
			ErrTooLarge, "Message.Headers",
		},
		"large payload":        {func(m *Message) { m.Payload = make([]byte, 1001) }, ErrTooLarge, "Message has 1001 bytes, and the limit is 1000"},
		"large with its texts": {func(m *Message) { m.Payload, m.ContentType = make([]byte, 1000), "x" }, ErrTooLarge, "Message"},
	} {
		m := Message{Topic: "t"}
		c.change(&m)
		err := Check(&m, 1000)
		if c.cause == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, c.cause) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckHasADefaultSize(t *testing.T) {
	m := Message{Topic: "t", Payload: make([]byte, 1<<20)}
	if err := Check(&m, 0); err != nil {
		t.Error(err)
	}
	m.ID = "x"
	if err := Check(&m, 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

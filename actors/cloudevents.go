package actors

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troupe-go/troupe/brokers"
)

// CloudEvents is the Codec of CloudEvents 1.0 (cloudevents.io): the attributes
// in ce_* headers (binary mode) or around the data (structured mode). It reads
// both modes. Drivers whose protocol binding spells the headers otherwise
// translate them.
type CloudEvents struct {
	// Source is the attribute of that name on what is published. Required for
	// publishing.
	Source string
	// Data is the Codec of the data. Defaults to JSON. In structured mode it
	// must write JSON.
	Data Codec
	// Structured publishes in structured mode. Defaults to binary.
	Structured bool
}

const structuredMode = "application/cloudevents+json"

// structuredEvent is an event in structured mode. Extensions are not kept.
type structuredEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Time            string          `json:"time,omitempty"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
	DataBase64      []byte          `json:"data_base64,omitempty"`
}

func (c CloudEvents) data() Codec {
	if c.Data == nil {
		return JSON{}
	}
	return c.Data
}

// Decode reads the data in either mode.
func (c CloudEvents) Decode(m *brokers.Message, into any) error {
	if !isStructured(m) {
		return c.data().Decode(m, into)
	}
	var e structuredEvent
	if err := json.Unmarshal(m.Payload, &e); err != nil {
		return fmt.Errorf("actors: CloudEvent in structured mode: %w", err)
	}
	if e.SpecVersion != "1.0" {
		return fmt.Errorf("actors: CloudEvent: specversion is %q, not 1.0", e.SpecVersion)
	}
	inner := *m
	inner.ContentType, inner.Payload = e.DataContentType, e.Data
	if e.DataBase64 != nil {
		inner.Payload = e.DataBase64
	}
	return c.data().Decode(&inner, into)
}

// Encode writes v as the data of an event of v's type name.
func (c CloudEvents) Encode(v any, m *brokers.Message) error {
	if c.Source == "" {
		return errors.New("actors: CloudEvents.Source is required for publishing")
	}
	if err := c.data().Encode(v, m); err != nil {
		return err
	}
	if m.ID == "" {
		m.ID = uuid.NewString()
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	if c.Structured {
		return c.wrap(v, m, now)
	}
	for _, attribute := range [...][2]string{
		{"ce_specversion", "1.0"}, {"ce_id", m.ID}, {"ce_source", c.Source}, {"ce_type", typeName(v)}, {"ce_time", now},
	} {
		m.Headers = m.Headers.With(attribute[0], []byte(attribute[1]))
	}
	return nil
}

func (c CloudEvents) wrap(v any, m *brokers.Message, now string) (err error) {
	m.Payload, err = json.Marshal(structuredEvent{
		SpecVersion: "1.0", ID: m.ID, Source: c.Source, Type: typeName(v), Time: now,
		DataContentType: m.ContentType, Data: m.Payload,
	})
	m.ContentType = structuredMode
	return err
}

// TypeName is the event's type, in either mode; "" if m is no CloudEvent.
func (c CloudEvents) TypeName(m *brokers.Message) string {
	if !isStructured(m) {
		return m.Headers.Text("ce_type")
	}
	var e struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(m.Payload, &e) != nil {
		return "" // Decode says what is wrong
	}
	return e.Type
}

func isStructured(m *brokers.Message) bool {
	return strings.HasPrefix(m.ContentType, structuredMode)
}

package brokers

import "fmt"

// Limits of a message besides its size. They leave room below the frame of
// 128 KiB that AMQP has for them.
const (
	// MaxKeyBytes is the longest key.
	MaxKeyBytes = 32 << 10
	// MaxHeaders is how many headers a message may have.
	MaxHeaders = 1024
	// MaxHeaderBytes is how much the keys and values of all headers may take.
	MaxHeaderBytes = 96 << 10
	// MaxPriority is the highest priority.
	MaxPriority = 9
)

// Check returns why no publisher takes m, or nil. The error wraps [ErrInvalid]
// or [ErrTooLarge] and names the field. maxBytes bounds Message.Size; 0 is
// PublisherConfig's default, 1 MiB. What only one broker forbids its driver
// finds.
func Check(m *Message, maxBytes int) error {
	switch {
	case m.Topic == "":
		return invalid("Message.Topic", "is empty")
	case m.TTL < 0:
		return invalid("Message.TTL", "is negative: %v", m.TTL)
	case m.Priority > MaxPriority:
		return invalid("Message.Priority", "is %d, more than %d", m.Priority, MaxPriority)
	}
	if err := tooLarge("Message.Key", len(m.Key), MaxKeyBytes, "bytes"); err != nil {
		return err
	}
	if err := checkHeaders(m.Headers); err != nil {
		return err
	}
	return tooLarge("Message", m.Size(), orDefault(maxBytes, defaultMaxMessageBytes), "bytes")
}

func checkHeaders(headers Headers) error {
	if err := tooLarge("Message.Headers", len(headers), MaxHeaders, "headers"); err != nil {
		return err
	}
	for i := range headers {
		if h := &headers[i]; h.Kind > KindTime {
			return invalid("Message.Headers", "has one of unknown kind: %q", h.Key)
		}
	}
	return tooLarge("Message.Headers", headers.size(), MaxHeaderBytes, "bytes")
}

func tooLarge(field string, is, limit int, unit string) error {
	if is <= limit {
		return nil
	}
	return fmt.Errorf("%w: %s has %d %s, and the limit is %d", ErrTooLarge, field, is, unit, limit)
}

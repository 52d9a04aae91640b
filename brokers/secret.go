package brokers

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a text that does not get into logs, errors or dumps: however it is
// printed or encoded, it says [Redacted]. The zero Secret is empty.
type Secret struct{ text string }

// Redacted is what stands for a secret.
const Redacted = "[redacted]"

// NewSecret makes a secret of text.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal returns the text, for whoever logs in with it.
func (s Secret) Reveal() string { return s.text }

// String is Redacted, or "" for an empty secret.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return Redacted
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, s.String()) // fmt ignores errors of its own as well
}

// MarshalText is String, also for encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

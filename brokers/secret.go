package brokers

// Secret is a text that does not print itself.
type Secret struct{ text string }

// Reveal returns the text.
func (s Secret) Reveal() string { return s.text }
